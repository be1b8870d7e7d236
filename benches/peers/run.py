#!/usr/bin/env python3
"""Times the workspace and other libraries at the same work, in turns, and writes what was measured.

    just bench-peers                        # every row, five rounds: half an hour on two cores
    just bench-peers --only transformer-f32 --rounds 7

Everything else on the machine should rest. A round runs every contestant of a row once, each in a process of its own; a
ratio is that of the medians over the rounds. `simcse report` makes the table of the results.
"""
import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENV = ROOT / "target" / "bench-venv"
# The ONNX backend of sentence-transformers asks for older versions than the others.
ONNX_VENV = ROOT / "target" / "bench-venv-onnx"
SPEED = ROOT / "target" / "release" / "simcse-speed"
SIMCSE = ROOT / "target" / "release" / "simcse"
ENCODED_SENTENCES = 3000


def rows(models, texts):
    """Each row: its key, what it is, and its contestants: a name and a command that prints one JSON object."""
    e5, tokens = models / "multilingual-e5-small-zh-en", models / "bert-tiny-zh"
    base = ["--model", str(tokens), "--network", str(HERE / "bert-base.json"), "--batch-size", "16", "--steps", "6"]
    small = ["--model", str(e5), "--layers", "6", "--batch-size", "64"]
    equal = [*small, "--equal-length", "16"]

    def transformer(key, work, arguments, precision):
        arguments = ["--texts", str(texts), *arguments, "--precision", precision]
        torch = "PyTorch, bfloat16 autocast" if precision == "bf16" else "PyTorch, float32"
        return {"key": key, "work": work, "contestants": {
            "ours": [str(SPEED), "transformer", *arguments], torch: script("simcse_transformer.py", *arguments)}}

    def encode(key, work, precision, peers):
        ours = [str(SIMCSE), "encode", str(e5), "-", "--pooling", "mean", "--precision", precision]
        common = ["--texts", str(texts), "--model", str(e5), "--sentences", str(ENCODED_SENTENCES)]
        contestants = {"ours": ours}
        for name, arguments in peers.items():
            venv = ONNX_VENV if "onnx" in arguments else VENV
            contestants[name] = script("encode.py", *common, "--precision", precision, *arguments, venv=venv)
        return {"key": key, "work": work, "contestants": contestants}

    cnn = ["--texts", str(texts), "--batch-size", "256"]
    classes = ["--texts", str(texts), "--batch-size", "64", "--classes", "100000", "--steps", "6"]
    step = "unsupervised SimCSE step, BERT"
    return [
        transformer("transformer-f32", f"{step} 6 x 384, batch 64, float32", small, "f32"),
        transformer("transformer-bf16", f"{step} 6 x 384, batch 64, bfloat16", small, "bf16"),
        transformer("base-f32", f"{step} 12 x 768 (random weights), batch 16, float32", base, "f32"),
        transformer("base-bf16", f"{step} 12 x 768 (random weights), batch 16, bfloat16", base, "bf16"),
        transformer("equal-f32", f"{step} 6 x 384, batch 64, all sentences of 16 tokens, float32", equal, "f32"),
        {"key": "text-cnn-f32", "work": "TextCNN step, 300 dimensions, 4 x 256 maps, batch 256, float32",
         "contestants": {"ours": [str(SPEED), "text-cnn", *cnn],
                         "PyTorch, float32": script("simcse_text_cnn.py", *cnn)}},
        {"key": "am-softmax-f32", "work": "AM-Softmax step, 100,000 classes x 1,024, 2 views, batch 64, float32",
         "contestants": {"ours": [str(SPEED), "margin-softmax", *classes],
                         "PyTorch, float32": script("am_softmax.py", *classes)}},
        {"key": "am-softmax-bf16", "work": "AM-Softmax step, 100,000 classes x 1,024, 2 views, batch 64, products with the classes in bfloat16",
         "contestants": {"ours": [str(SPEED), "margin-softmax", *classes, "--precision", "bf16"],
                         "PyTorch, float32": script("am_softmax.py", *classes)}},
        encode("encode-f32", "encode, 12 x 384, float32", "f32",
               {"sentence-transformers, float32": [], "onnxruntime, float32": ["--backend", "onnx"]}),
        encode("encode-bf16", "encode, 12 x 384, bfloat16", "bf16", {"sentence-transformers, bfloat16": []}),
    ]


def script(name, *arguments, venv=VENV):
    return [str(venv / "bin" / "python"), str(HERE / name), *arguments]


def prepare():
    """Builds the release binaries and the virtual environments."""
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "simcse-speed", "-p", "simcse-cli"], cwd=ROOT,
                   check=True)
    install(VENV, HERE / "requirements.txt")
    install(ONNX_VENV, HERE / "requirements-onnx.txt")


def install(venv, requirements):
    done = venv / "done"
    if done.exists() and done.read_text() == requirements.read_text():
        return
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True)
    done.write_text(requirements.read_text())


def run(command, texts):
    """One process; returns what it measured."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count()), "TOKENIZERS_PARALLELISM": "false"}
    if command[0] == str(SIMCSE):
        return run_encode(command, texts, environment)
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE)
    if finished.returncode != 0:
        sys.exit(f"{' '.join(command)}\nfailed:\n{finished.stderr[-3000:]}")
    return json.loads(finished.stdout.strip().splitlines()[-1])


def run_encode(command, texts, environment):
    """`simcse encode` as its users run it; it tells its rate on standard error."""
    sentences = "\n".join(unique_sentences(texts)[:ENCODED_SENTENCES])
    with tempfile.TemporaryDirectory() as folder:
        command = [*command, "--out", str(pathlib.Path(folder) / "embeddings.npy")]
        finished = subprocess.run(command, capture_output=True, text=True, input=sentences, env=environment)
    rate = re.search(r"([\d.]+) sentences/s", finished.stderr)
    if finished.returncode != 0 or not rate:
        sys.exit(f"{' '.join(command)}\nfailed:\n{finished.stderr[-3000:]}")
    return {"sentences_per_second": float(rate.group(1))}


def unique_sentences(path):
    cells = (cell.strip() for line in open(path, encoding="utf-8") for cell in line.rstrip("\n").split("\t")[:2])
    return list(dict.fromkeys(cell for cell in cells if cell))


def machine():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if pathlib.Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}


def versions():
    return {"PyTorch and sentence-transformers": installed(VENV), "onnxruntime": installed(ONNX_VENV)}


def installed(venv):
    listed = subprocess.run([str(venv / "bin" / "python"), "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    wanted = ("torch==", "transformers==", "sentence-transformers==", "onnxruntime==", "tokenizers==")
    return [line for line in listed.splitlines() if line.startswith(wanted)]


def write(path, value):
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.rename(path)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data-dir", default=os.environ.get("SIMCSE_DATA_DIR"))
    options.add_argument("--model-dir", default=os.environ.get("SIMCSE_MODEL_DIR"))
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", action="append", help="a row by its key; may be given several times")
    options.add_argument("--out", type=pathlib.Path, default=ROOT / "results" / "bench" / "peers.json")
    options = options.parse_args()
    if not options.data_dir or not options.model_dir:
        sys.exit("error: give --data-dir and --model-dir, or set SIMCSE_DATA_DIR and SIMCSE_MODEL_DIR")
    texts = pathlib.Path(options.data_dir) / "LCQMC" / "dev.txt"
    every = rows(pathlib.Path(options.model_dir), texts)
    chosen = [row for row in every if not options.only or row["key"] in options.only]
    if not texts.exists() or not chosen:
        sys.exit(f"error: {texts} is missing, or no row is named {options.only}")
    prepare()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    record = json.loads(options.out.read_text()) if options.out.exists() else {"rows": {}}
    record |= {"machine": machine(), "versions": versions(), "texts": "LCQMC dev"}
    # The peak belongs to the session of the rows that are shares of it.
    if len(chosen) == len(every) or "products" not in record:
        record["products"] = {"ours": run([str(SPEED), "products"], texts),
                              "PyTorch": run(script("products.py"), texts)}
    for row in chosen:
        rounds = []
        for number in range(options.rounds):
            measured = {}
            for name, command in row["contestants"].items():
                measured[name] = run(command, texts)
                print(f"{row['key']} {number + 1}/{options.rounds} {name}: "
                      f"{measured[name]['sentences_per_second']:.1f} sentences/s", file=sys.stderr, flush=True)
            rounds.append(measured)
        record["rows"][row["key"]] = {"work": row["work"], "rounds": rounds}
        for known in every:
            if known["key"] in record["rows"]:
                record["rows"][known["key"]]["work"] = known["work"]
        write(options.out, record)


if __name__ == "__main__":
    main()
