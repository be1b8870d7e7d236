#!/usr/bin/env python3
"""Measures how fast the encoders of recorded runs embed, and writes results/bench/encoders.json.

    just encoder-speed

`[encoders]` of results/tables.toml names the runs. The encoder of each is made anew by its recorded configuration, but not
trained: speed does not depend on the values of weights, and encoders are not in git. Then each is measured in a process
of its own, all of them in turns, three times: a slow minute of the machine meets all of them. Everything else on the
machine should rest; it takes some ten minutes on two cores.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

from peers.run import ROOT, SPEED, machine, write
from recorded import configs, run_again

ROUNDS = 3


def untrained(config, folder):
    """The directory of the encoder of a configuration before its first step."""
    changes = {"train.steps": 0, "train.warmup_steps": 0}
    if tomllib.loads(config.read_text(encoding="utf-8"))["encoder"]["kind"] == "transformer":
        # Scores are not needed. (The vocabulary of a TextCNN depends on the tasks, whose test text is taken out.)
        changes |= {"evaluation.tasks": '["stsb_zh"]', "evaluation.select_on": '["stsb_zh"]'}
    run, _ = run_again(config, folder, changes)
    return run / "encoder"


def measure(folder, texts, sentences):
    arguments = ["encode", "--encoder", folder, "--texts", texts, "--rounds", 1, "--sentences", sentences]
    finished = subprocess.run([str(SPEED), *map(str, arguments)], capture_output=True, text=True)
    if finished.returncode != 0:
        sys.exit(f"{folder}: {finished.stderr}")
    return json.loads(finished.stdout)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data-dir", default=os.environ.get("SIMCSE_DATA_DIR"))
    options.add_argument("--results", type=pathlib.Path, default=ROOT / "results")
    options.add_argument("--sentences", type=int, default=2000, help="sentences of LCQMC's test set in a round")
    options = options.parse_args()
    if not options.data_dir:
        sys.exit("error: give --data-dir, or set SIMCSE_DATA_DIR")
    texts = pathlib.Path(options.data_dir) / "LCQMC" / "test.txt"
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "simcse-cli", "-p", "simcse-speed"], cwd=ROOT, check=True)
    measured = {}
    with tempfile.TemporaryDirectory() as made:
        encoders = {name: untrained(path, made) for name, path in configs(options.results, "encoders").items()}
        for _ in range(ROUNDS):
            for name, folder in encoders.items():
                result = measure(folder, texts, options.sentences)
                print(name, json.dumps(result), file=sys.stderr, flush=True)
                row = measured.setdefault(name, {key: result[key] for key in ("parameters", "embedding_size")})
                row.setdefault("sentences_per_second", []).append(result["sentences_per_second"])
                if result["peak_memory_mib"] is None:
                    sys.exit("this system does not tell the peak memory of a process; fix: measure on Linux")
                row.setdefault("peak_memory_mib", []).append(result["peak_memory_mib"])
    out = options.results / "bench" / "encoders.json"
    report = {
        "machine": machine(),
        "texts": f"the first {options.sentences} sentences of LCQMC test",
        "encoders": measured,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, report)


if __name__ == "__main__":
    main()
