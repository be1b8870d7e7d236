#!/usr/bin/env python3
"""Measures how fast the encoders of recorded runs embed, and writes results/bench/encoders.json.

    just encoder-speed

`[encoders]` of results/tables.toml names the runs. Each is measured in a process of its own, all of them in turns, three
times: a slow minute of the machine meets all of them. Everything else on the machine should rest. Encoders are not in git: all
of them have to be on this machine, since only speeds of one session can be compared.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tomllib

from peers.run import machine, write

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPEED = ROOT / "target" / "release" / "simcse-speed"
ROUNDS = 3


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
    names = tomllib.loads((options.results / "tables.toml").read_text(encoding="utf-8"))["encoders"]["runs"]
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "simcse-speed"], cwd=ROOT, check=True)
    out = options.results / "bench" / "encoders.json"
    folders = {name: sorted((options.results / "runs").glob(f"{name}-s*/encoder")) for name in names}
    if missing := [name for name in names if not folders[name]]:
        sys.exit(f"no encoder of {', '.join(missing)} on this machine; fix: run them here, with --again where only the record is there")
    measured = {}
    for _ in range(ROUNDS):
        for name in names:
            result = measure(folders[name][0], texts, options.sentences)
            print(name, json.dumps(result), file=sys.stderr, flush=True)
            row = measured.setdefault(name, {key: result[key] for key in ("parameters", "embedding_size")})
            row.setdefault("sentences_per_second", []).append(result["sentences_per_second"])
            if result["peak_memory_mib"] is None:
                sys.exit("this system does not tell the peak memory of a process; fix: measure on Linux")
            row.setdefault("peak_memory_mib", []).append(result["peak_memory_mib"])
    report = {
        "machine": machine(),
        "texts": f"the first {options.sentences} sentences of LCQMC test",
        "encoders": measured,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, report)


if __name__ == "__main__":
    main()
