"""Runs recorded configurations again, with changes, into another folder."""
import os
import pathlib
import subprocess
import sys
import tomllib

from peers.run import SIMCSE


def configs(results, section):
    """The configuration that the first run of each name in a section of tables.toml recorded."""
    names = tomllib.loads((results / "tables.toml").read_text(encoding="utf-8"))[section]["runs"]
    found = {name: sorted((results / "runs").glob(f"{name}-s*/config.toml")) for name in names}
    if missing := [name for name in names if not found[name]]:
        sys.exit(f"no run of {', '.join(missing)}; fix: run them, or take them out of [{section}] in tables.toml")
    return {name: paths[0] for name, paths in found.items()}


def run_again(config, folder, changes):
    """The folder of the new run below `folder`, and the peak memory of its process in MiB."""
    command = [str(SIMCSE), "sweep", str(config), "--out", str(folder)]
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}\nfailed: {errors[-2000:]}")
    experiment, run = config.parent.parent.name, config.parent.name
    return pathlib.Path(folder) / "runs" / experiment / run, usage.ru_maxrss / 1024
