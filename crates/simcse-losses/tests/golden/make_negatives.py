"""Writes negatives.json: InfoNCE with hard negatives, a queue and equal texts, from PyTorch.

    pip install torch numpy
    python make_negatives.py       # overwrites negatives.json beside this file
"""

import itertools
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

BATCH, SIZE, QUEUE, TEMPERATURE = 5, 4, 3, 0.3
ALL, SOME = [0, 1, 2, 3, 4], [3, 0, 4]  # owners of hard negatives
# Equal numbers are equal texts. Premises 0 and 2 are equal; positive 3 is premise 1; the hard negative of pair 3 is
# the positive of pair 0; that of pair 0 is its own premise, no hard negative at all.
TEXTS = {"anchors": [7, 2, 7, 3, 9], "positives": [1, 8, 4, 2, 6], "hard": [1, 7, 5]}
SETTINGS = [
    {"owners": ALL, "weight": 1.0},
    {"owners": ALL, "weight": 0.5},
    {"owners": ALL, "weight": 2.0},
    {"owners": SOME, "weight": 1.0},
    {"owners": SOME, "weight": 2.0},
    {"queue": True},
    {"owners": SOME, "weight": 0.5, "queue": True},
    {"owners": SOME, "weight": 0.5, "queue": True, "groups": TEXTS},
    {"owners": SOME, "weight": 2.0, "groups": TEXTS, "similarity": "dot"},
]


def info_nce(views, hard, queue, candidates, symmetric, case):
    """Loss of each anchor, one anchor at a time: its logits are listed, then F.cross_entropy."""
    groups = case["groups"]
    texts = groups and [groups["anchors"], groups["positives"]]
    losses = []
    for view, i in itertools.product(range(2 if symmetric else 1), range(BATCH)):
        own = groups and {texts[0][i], texts[1][i]}
        kept = [(views[1 - view][i], 0.0)]  # (embedding, log weight); the positive first
        for other, j in itertools.product(range(2), range(BATCH)):
            outside = candidates == "n" and other == view
            is_pair = j == i  # the positive stands there already, the anchor is no candidate
            if not (outside or is_pair or (groups and texts[other][j] in own)):
                kept.append((views[other][j], 0.0))
        for number, owner in enumerate(case["owners"] or []):
            if not (groups and groups["hard"][number] in own):
                kept.append((hard[number], math.log(case["weight"]) if owner == i else 0.0))
        if case["queue"]:
            kept += [(row.detach(), 0.0) for row in queue]
        stacked = torch.stack([embedding for embedding, _ in kept])
        anchor = views[view][i].expand_as(stacked)
        compared = F.cosine_similarity(anchor, stacked) if case["similarity"] == "cosine" else (anchor * stacked).sum(1)
        logits = compared / TEMPERATURE + torch.tensor([log_weight for _, log_weight in kept])
        losses.append(F.cross_entropy(logits, torch.tensor(0)))
    return torch.stack(losses)


def official(anchors, positives, hard, log_weight):
    """The supervised loss as princeton-nlp/SimCSE computes it (models.py, cl_forward), each anchor's."""
    cosines = F.cosine_similarity(anchors[:, None], torch.cat([positives, hard])[None], dim=-1) / TEMPERATURE
    weights = torch.cat([torch.zeros(BATCH, BATCH), log_weight * torch.eye(BATCH)], 1)
    return F.cross_entropy(cosines + weights, torch.arange(BATCH), reduction="none")


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.detach().flatten().tolist()]


def main():
    torch.manual_seed(5)
    anchors = torch.randn(BATCH, SIZE)
    positives = anchors + 0.5 * torch.randn(BATCH, SIZE)
    hard = anchors + torch.randn(BATCH, SIZE)  # rows beyond the number of owners are not used
    queue = torch.randn(QUEUE, SIZE)
    weights = torch.randn(2 * BATCH)
    cases = []
    for candidates, symmetric, setting in itertools.product(["n", "2n-1"], [False, True], SETTINGS):
        case = {"candidates": candidates, "symmetric": symmetric, "similarity": "cosine"}
        case |= {"owners": None, "weight": None, "queue": False, "groups": None} | setting
        a, p, h = (tensor.clone().requires_grad_() for tensor in (anchors, positives, hard))
        losses = info_nce([a, p], h, queue, candidates, symmetric, case)
        if (candidates, symmetric, case["owners"]) == ("n", False, ALL):
            torch.testing.assert_close(losses, official(a, p, h, math.log(case["weight"])))
        (losses * weights[: len(losses)]).sum().backward()
        hard_gradient = numbers(h.grad[: len(case["owners"])]) if case["owners"] else []
        case |= {"losses": numbers(losses), "anchors_gradient": numbers(a.grad)}
        cases.append(case | {"positives_gradient": numbers(p.grad), "hard_gradient": hard_gradient})
    golden = {
        "torch": torch.__version__.split("+")[0], "temperature": TEMPERATURE, "size": SIZE,
        "anchors": numbers(anchors), "positives": numbers(positives), "hard": numbers(hard),
        "queue": numbers(queue), "weights": numbers(weights), "cases": cases,
    }
    text = json.dumps(golden, separators=(", ", ": ")).replace('{"candidates"', '\n{"candidates"')
    Path(__file__).with_name("negatives.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
