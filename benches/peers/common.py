"""What the scripts share: sentences of a file, a clock around steps, one JSON object on standard output."""
import argparse
import json
import os
import resource
import statistics
import time

import torch
import torch.nn.functional as F

THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
torch.set_num_threads(THREADS)
torch.manual_seed(1)


def parser(description):
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--texts", required=True, help="sentences, one a line, or tab-separated pairs")
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--max-tokens", type=int, default=32)
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--warm-up", type=int, default=3)
    options.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    return options


def read_sentences(path):
    """The unique sentences of the first two columns, in the order of the file."""
    unique = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            for cell in line.rstrip("\n").split("\t")[:2]:
                if cell.strip():
                    unique[cell.strip()] = None
    return list(unique)


def batches_of_two_views(sequences, size):
    """Batch after batch of token ids, each sentence twice, as long as somebody asks; padded with `pad` to the longest."""
    order = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(1)).tolist()
    position = 0
    while True:
        if position + size > len(order):
            position = 0
        yield [sequences[i] for i in order[position : position + size]] * 2
        position += size


def pad(sequences, pad_id):
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), longest), pad_id)
    mask = torch.zeros((len(sequences), longest), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return ids, mask


def of_equal_length(sequences, length):
    return [sequence[:length] for sequence in sequences if len(sequence) >= length]


def contrast(first_view, second_view):
    """InfoNCE between two views of each sentence, temperature .05."""
    similarities = F.normalize(first_view) @ F.normalize(second_view).T / 0.05
    return F.cross_entropy(similarities, torch.arange(len(first_view)))


def update(loss, optimizer, clipped):
    """One step of an optimizer, the gradient of `clipped` parameters cut to a norm of 1."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(clipped, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def time_steps(step, options):
    """Milliseconds of every step after the first few, and the last loss."""
    milliseconds, loss = [], float("nan")
    for number in range(options.warm_up + options.steps):
        began = time.perf_counter()
        loss = step()
        if number >= options.warm_up:
            milliseconds.append(1e3 * (time.perf_counter() - began))
    return milliseconds, loss


def report(milliseconds, sentences, **more):
    median = statistics.median(milliseconds)
    print(json.dumps({
        "sentences_per_second": 1e3 * sentences / median,
        "median_step_ms": median,
        "steps_ms": milliseconds,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **more,
    }))
