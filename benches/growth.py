#!/usr/bin/env python3
"""Measures how time and memory of a training step grow, and writes results/bench/growth.json.

    just growth

One thing grows at a time: the batch (with a gradient cache of 128 rows), the length of a sentence (at about 8,192 tokens a
step), the number of classes of a margin softmax (all of them, and a tenth). `simcse report` draws the figure. Everything
else on the machine should rest; it takes about ten minutes on two cores.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from peers.run import write

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPEED = ROOT / "target" / "release" / "simcse-speed"
TOKENS_OF_A_STEP = 8192


def measure(*arguments):
    finished = subprocess.run([str(SPEED), *map(str, arguments)], capture_output=True, text=True)
    if finished.returncode != 0:
        sys.exit(f"simcse-speed {' '.join(map(str, arguments))}\nfailed: {finished.stderr}")
    return json.loads(finished.stdout)


def point(x, measured, unit):
    """Microseconds for each of what a step consists of, and MiB."""
    seconds = measured["median_step_ms"] / 1e3
    result = {"x": x, "microseconds": 1e6 * seconds / unit, "memory_mib": measured["peak_memory_mib"]}
    print(json.dumps(result), file=sys.stderr, flush=True)
    return result


def by_batch(transformer, texts):
    for size in (16, 64, 256, 1024, 4096):
        steps = ("--steps", 3, "--warm-up", 1) if size <= 256 else ("--steps", 1, "--warm-up", 0)
        cache = ("--gradient-cache-rows", 128)
        yield point(size, measure(*transformer, "--texts", texts, "--batch-size", size, *cache, *steps), size)


def by_length(transformer, texts):
    for length in (8, 16, 32, 64, 128, 256, 510):
        size = max(2, TOKENS_OF_A_STEP // (2 * length))
        arguments = ("--max-tokens", 510, "--equal-length", length, "--batch-size", size, "--steps", 3, "--warm-up", 1)
        yield point(length, measure(*transformer, "--texts", texts, *arguments), 2 * size * length)


def by_classes(texts, share):
    for classes in (1_000, 10_000, 100_000, 1_000_000):
        if classes * share > 200_000:
            continue
        arguments = ("--classes", classes, "--sampled-share", share, "--maps", 64, "--steps", 4, "--warm-up", 1)
        yield point(classes, measure("margin-softmax", "--texts", texts, *arguments), 64)


def long_lines(texts):
    """Different lines of about a thousand characters: sentences of the file, a hundred at a time."""
    cells = [cell for line in texts.read_text(encoding="utf-8").splitlines() for cell in line.split("\t")[:2]]
    for number in range(600):
        start = 97 * number % (len(cells) - 100)
        yield f"{number}：" + "，".join(cells[start : start + 100])


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data-dir", default=os.environ.get("SIMCSE_DATA_DIR"))
    options.add_argument("--model-dir", default=os.environ.get("SIMCSE_MODEL_DIR"))
    options.add_argument("--out", type=pathlib.Path, default=ROOT / "results" / "bench" / "growth.json")
    options = options.parse_args()
    if not options.data_dir or not options.model_dir:
        sys.exit("error: give --data-dir and --model-dir, or set SIMCSE_DATA_DIR and SIMCSE_MODEL_DIR")
    texts = pathlib.Path(options.data_dir) / "LCQMC" / "dev.txt"
    model = pathlib.Path(options.model_dir) / "multilingual-e5-small-zh-en"
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "simcse-speed"], cwd=ROOT, check=True)
    transformer = ("transformer", "--model", model, "--layers", 6)
    with tempfile.TemporaryDirectory() as folder:
        long_texts = pathlib.Path(folder) / "long.txt"
        long_texts.write_text("\n".join(long_lines(texts)), encoding="utf-8")
        series = {
            "batch": list(by_batch(transformer, texts)),
            "length": list(by_length(transformer, long_texts)),
            "classes": list(by_classes(texts, 1)),
            "classes, a tenth sampled": list(by_classes(texts, 0.1)),
        }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write(options.out, series)


if __name__ == "__main__":
    main()
