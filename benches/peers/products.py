"""Rates of large matrix products in GFLOP/s: what the machine can do through PyTorch."""
import json
import statistics
import time

import torch

import common

rates = {}
for name, kind in (("f32", torch.float32), ("bf16", torch.bfloat16)):
    for size in (1024, 2048):
        left, right = torch.randn(size, size).to(kind), torch.randn(size, size).to(kind)
        seconds = []
        for _ in range(15):
            began = time.perf_counter()
            left @ right
            seconds.append(time.perf_counter() - began)
        rates[f"{name} {size}"] = 2 * size**3 / statistics.median(seconds) / 1e9
print(json.dumps(rates))
