"""Writes losses.json: InfoNCE in all its forms, alignment and uniformity, from PyTorch.

    pip install torch numpy
    python make_losses.py          # overwrites losses.json beside this file
"""

import itertools
import json
from pathlib import Path

import torch
import torch.nn.functional as F

BATCH, SIZE, TEMPERATURE = 5, 4, 0.3
GROUPS = [7, 2, 7, 3, 7]  # sentences 0, 2 and 4 are equal


def info_nce(anchors, positives, candidates, symmetric, similarity, groups):
    """Loss of each anchor, one anchor at a time: its logits are listed, then F.cross_entropy."""
    views = [anchors, positives]
    losses = []
    for view in range(2 if symmetric else 1):
        for i in range(BATCH):
            kept = []  # (embedding, is_positive)
            for other, j in itertools.product(range(2), range(BATCH)):
                is_positive = other != view and j == i
                is_self = other == view and j == i
                outside = candidates == "n" and other == view
                same_sentence = groups is not None and groups[i] == groups[j]
                if is_positive or not (is_self or outside or same_sentence):
                    kept.append((views[other][j], is_positive))
            stacked = torch.stack([embedding for embedding, _ in kept])
            anchor = views[view][i].expand_as(stacked)
            compared = F.cosine_similarity(anchor, stacked) if similarity == "cosine" else (anchor * stacked).sum(1)
            target = torch.tensor([is_positive for _, is_positive in kept].index(True))
            losses.append(F.cross_entropy(compared / TEMPERATURE, target))
    return torch.stack(losses)


def lalign(x, y, alpha=2):  # as in the appendix of Wang and Isola 2020
    return (x - y).norm(dim=1).pow(alpha).mean()


def lunif(x, t=2):  # as there
    return torch.pdist(x, p=2).pow(2).mul(-t).exp().mean().log()


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.detach().flatten().tolist()]


def main():
    torch.manual_seed(3)
    anchors = torch.randn(BATCH, SIZE)
    positives = anchors + 0.5 * torch.randn(BATCH, SIZE)
    weights = torch.randn(2 * BATCH)
    cases = []
    for candidates, symmetric, similarity, groups in itertools.product(
        ["n", "2n-1"], [False, True], ["cosine", "dot"], [None, GROUPS]
    ):
        a, p = anchors.clone().requires_grad_(), positives.clone().requires_grad_()
        losses = info_nce(a, p, candidates, symmetric, similarity, groups)
        (losses * weights[: len(losses)]).sum().backward()
        cases.append({
            "candidates": candidates, "symmetric": symmetric, "similarity": similarity, "groups": groups,
            "losses": numbers(losses), "anchors_gradient": numbers(a.grad), "positives_gradient": numbers(p.grad),
        })
    x, y = F.normalize(anchors.double()), F.normalize(positives.double())
    golden = {
        "torch": torch.__version__.split("+")[0], "temperature": TEMPERATURE, "size": SIZE,
        "anchors": numbers(anchors), "positives": numbers(positives), "weights": numbers(weights),
        "info_nce": cases,
        "alignment": float(lalign(x, y)), "uniformity": float(lunif(torch.cat([x, y]))),
    }
    text = json.dumps(golden, separators=(", ", ": ")).replace('{"candidates"', '\n{"candidates"')
    Path(__file__).with_name("losses.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
