#!/usr/bin/env python3
"""Scores the encoder of a recorded run with other people's code, and compares with its `summary.json`.

    python benches/cross_check.py results/runs/bert-unsup/e5-6-mean-s1 --data-dir DATA

The encoder is loaded by sentence-transformers, Spearman's correlation is SciPy's, and the test files are read
below. Nothing of this repository's crates takes part: an error in tokenizer, network, pooling, prefix, reader,
cosine or rank correlation shows as a difference. Prints one line for each score and ends with status 1 if one
differs by more than the tolerance (0.01 on the scale of 100), or if nothing could be compared.

A task that the summary names by a path is read from there, as tab-separated sentences and score.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

# Files below the data folder, as docs/data.md lists them: split -> path, and how its lines are read.
CHINESE = {
    "lcqmc": ({"dev": "LCQMC/dev.txt", "test": "LCQMC/test.txt"}, "tsv"),
    "atec": ({"dev": "ATEC/ATEC.valid.data", "test": "ATEC/ATEC.test.data"}, "tsv"),
    "bq": ({"dev": "BQ/BQ.valid.data", "test": "BQ/BQ.test.data"}, "tsv"),
    "pawsx": ({"dev": "PAWSX/dev_2k.tsv", "test": "PAWSX/test_2k.tsv"}, "pawsx"),
    "stsb_zh": ({"dev": "STS-B-zh/cnsd-sts-dev.txt", "test": "STS-B-zh/cnsd-sts-test.txt"}, "double_bar"),
}
ENGLISH = {
    "stsb": (
        {"dev": "SentEval/STS/STSBenchmark/sts-dev.csv", "test": "SentEval/STS/STSBenchmark/sts-test.csv"},
        "stsb",
    ),
    "sickr": ({"dev": "SentEval/SICK/SICK_trial.txt", "test": "SentEval/SICK/SICK_test_annotated.txt"}, "sick"),
}
FILES = {**CHINESE, **ENGLISH}
# Folders of subsets; the files themselves say which.
FOLDERS = {f"sts{year}": f"SentEval/STS/STS{year}-en-test" for year in range(12, 17)}
METRICS = ("spearman", "spearman_all", "spearman_mean", "spearman_wmean")


def lines(path):
    """Lines of a file; `splitlines` would also cut at the separators that stand within sentences."""
    text = path.read_text(encoding="utf-8-sig")
    return [line.rstrip("\r") for line in text.split("\n")]


def read_pairs(path, layout):
    """[(first, second, score)] of a file."""
    pairs = []
    for number, line in enumerate(lines(path)):
        if not line.strip():
            continue
        if layout == "tsv":
            first, second, score = line.split("\t")[:3]
        elif layout == "pawsx":
            if number == 0:
                continue
            _, first, second, score = line.split("\t")[:4]
            if "NS" in (first.strip(), second.strip()):  # no sentence
                continue
        elif layout == "double_bar":
            _, first, second, score = line.split("||")
        elif layout == "stsb":
            score, first, second = line.split("\t")[4:7]
        elif layout == "sick":
            if number == 0:
                continue
            _, first, second, score = line.split("\t")[:4]
        else:
            raise ValueError(layout)
        pairs.append((first.strip(), second.strip(), float(score)))
    return pairs


def read_subsets(folder):
    """The subsets of a SentEval folder, each [(first, second, score)]; pairs without a score are left out."""
    subsets = []
    for sentences in sorted(folder.glob("STS.input.*.txt")):
        name = sentences.name.removeprefix("STS.input.").removesuffix(".txt")
        scores = folder / f"STS.gs.{name}.txt"
        if name == "SMT" or not scores.is_file():
            continue
        pairs = []
        for line, score in zip(lines(sentences), lines(scores)):
            if score.strip():
                first, second = line.split("\t")[:2]
                pairs.append((first.strip(), second.strip(), float(score)))
        subsets.append(pairs)
    return subsets


def load_task(task, split, data_dir):
    """The subsets of a task; most have one."""
    if task in FOLDERS:
        path, read = FOLDERS[task], read_subsets
    elif task in FILES:
        paths, layout = FILES[task]
        path, read = paths[split], lambda found: [read_pairs(found, layout)]
    else:
        path, read = task, lambda found: [read_pairs(found, "tsv")]
    candidates = [Path(path)] if data_dir is None else [data_dir / path, Path(path)]
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None:
        sys.exit(f"{task}/{split}: {path} is not there; fix: give --data-dir, or leave it out by --tasks")
    subsets = read(found)
    if not any(subsets):
        sys.exit(f"{found}: no pairs; fix: download it again")
    return subsets


def spearman_scores(subsets, embed):
    """All of METRICS that the subsets have."""
    from scipy.stats import spearmanr

    def cosine(pairs):
        first, second = (np.stack([embed[pair[side]] for pair in pairs]) for side in (0, 1))
        # In this form the cosine of equal vectors is exactly 1: such pairs are ties, which no rounding may order.
        return (first * second).sum(1) / np.sqrt((first**2).sum(1) * (second**2).sum(1))

    gold = [[pair[2] for pair in pairs] for pairs in subsets]
    given = [cosine(pairs) for pairs in subsets]
    together = spearmanr(np.concatenate(given), np.concatenate(gold)).statistic
    if len(subsets) == 1:
        return {"spearman": together}
    each = [spearmanr(a, b).statistic for a, b in zip(given, gold)]
    sizes = [len(pairs) for pairs in subsets]
    weighted = float(np.average(each, weights=sizes))
    return {"spearman_all": together, "spearman_mean": float(np.mean(each)), "spearman_wmean": weighted}


def recorded_scores(summary, splits, tasks):
    """{(task, split): {metric: value}} of a summary; a task may be a path."""
    found = {}
    for name, value in summary["metrics"].items():
        task, _, metric = name.rpartition("/")
        task, _, split = task.rpartition("/")
        if metric in METRICS and split in splits and (not tasks or task in tasks):
            found.setdefault((task, split), {})[metric] = value
    return found


def embed_all(folder, sentences, batch_size):
    """Embeddings by sentence; prefix, length and pooling are those of the folder.

    Sentences with equal tokens (unknown characters, a difference behind the last token that counts) are embedded
    once: padded to other lengths they would differ in the last digit, and no longer be ties.
    """
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    prefix = model.prompts.get(model.default_prompt_name) or ""
    unique = sorted(set(sentences))
    limits = {"truncation": True, "max_length": model.max_seq_length}
    tokens = list(map(tuple, model.tokenizer([prefix + text for text in unique], **limits)["input_ids"]))
    one_each = dict(zip(tokens, unique))
    embeddings = model.encode(list(one_each.values()), batch_size=batch_size, show_progress_bar=False)
    by_tokens = dict(zip(one_each, embeddings.astype(np.float64)))
    return {text: by_tokens[key] for text, key in zip(unique, tokens)}


def check(run, arguments):
    """Prints the table of one run; returns whether all scores agree."""
    folder = run / "encoder"
    if not (folder / "modules.json").is_file():
        sys.exit(f"{folder}: no directory of sentence-transformers; fix: name the run of a transformer")
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    recorded = recorded_scores(summary, arguments.splits, arguments.tasks)
    if not recorded:
        sys.exit(f"{run}: no such scores in summary.json; fix: correct --tasks or --splits")
    subsets = {place: load_task(*place, arguments.data_dir) for place in recorded}
    embed = embed_all(
        folder,
        (text for sets in subsets.values() for pairs in sets for pair in pairs for text in pair[:2]),
        arguments.batch_size,
    )
    agree = True
    print(f"{run}\n{'score':<40} {'pairs':>7} {'recorded':>9} {'here':>9} {'difference':>11}")
    for place, values in sorted(recorded.items()):
        scores = spearman_scores(subsets[place], embed)
        pairs = sum(map(len, subsets[place]))
        for metric, ours in values.items():
            here = scores.get(metric, float("nan"))
            difference = 100 * (here - ours)
            fits = abs(difference) <= arguments.tolerance  # False for NaN
            agree = agree and fits
            name = "/".join((Path(place[0]).name, place[1], metric))
            note = "" if fits else "  <- differs"
            print(f"{name:<40} {pairs:>7} {100 * ours:>9.4f} {100 * here:>9.4f} {difference:>+11.4f}{note}")
    return agree


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda text: text.split(",")
    parser.add_argument("runs", nargs="+", type=Path, help="directory of a run: summary.json and encoder/")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("SIMCSE_DATA_DIR"))
    parser.add_argument("--tasks", type=listed, default=[], help="tasks of the summary (default: all)")
    parser.add_argument("--splits", type=listed, default=["test"], help="test, dev (default: test)")
    parser.add_argument("--tolerance", type=float, default=0.01, help="on the scale of 100")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, help="of PyTorch")
    arguments = parser.parse_args()
    if arguments.data_dir is not None:
        arguments.data_dir = Path(arguments.data_dir)
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    results = [check(run, arguments) for run in arguments.runs]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
