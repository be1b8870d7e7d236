#!/usr/bin/env python3
"""Measures time and memory of recorded trainings by some of their steps, and writes results/bench/costs.json.

    just costs

`[costs]` of results/tables.toml names the configurations. Each is run in a process of its own, all of them in turns, two
times, by the configuration that its run recorded and with fewer steps. Everything else on the machine should rest; it takes
some ten minutes on two cores.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

from peers.run import ROOT, machine, write
from recorded import configs, run_again

ROUNDS = 2


def measure(config, steps, folder):
    """Forwards a second in training, and the peak memory of the process."""
    run, peak_memory_mib = run_again(config, folder, {
        "train.steps": steps,
        "train.evaluate_every": steps,
        "train.checkpoint_every": steps,
        "health.chance_level_steps": 0,
        "evaluation.select_pairs": 100,
    })
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    loss = tomllib.loads(config.read_text(encoding="utf-8"))["loss"]
    return {
        "forwards_per_second": summary["sentences_per_s"] * loss.get("views", 2),
        "peak_memory_mib": peak_memory_mib,
    }


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--results", type=pathlib.Path, default=ROOT / "results")
    options.add_argument("--steps", type=int, default=60)
    options = options.parse_args()
    if not os.environ.get("SIMCSE_DATA_DIR"):
        sys.exit("error: set SIMCSE_DATA_DIR")
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "simcse-cli"], cwd=ROOT, check=True)
    recorded = configs(options.results, "costs")
    measured = {}
    for _ in range(ROUNDS):
        for name, config in recorded.items():
            with tempfile.TemporaryDirectory() as folder:
                result = measure(config, options.steps, folder)
            print(name, json.dumps(result), file=sys.stderr, flush=True)
            row = measured.setdefault(name, {})
            for key, value in result.items():
                row.setdefault(key, []).append(value)
    report = {"machine": machine(), "steps": options.steps, "runs": measured}
    out = options.results / "bench" / "costs.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, report)


if __name__ == "__main__":
    main()
