"""Writes transformer_*.json: token states, mean embeddings and gradients of published encoders.

python make_transformer.py MODEL_DIR    (transformers 5.23, torch 2.15, tokenizers; all in float64)
"""
import json
import math
import pathlib
import sys

import torch
from tokenizers import Tokenizer
from transformers import AutoModel, BertTokenizer

MODELS, HERE = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
SENTENCES = [
    "今天下午三点在图书馆门口见面。",
    "你好",
    "The old bridge over the river is closed until Friday.",
    "小猫睡在窗台上，阳光很暖和，没有人去打扰它。",
    "下午三点，图书馆门口见。",
    "您好啊",
]


def rounded(tensor, digits=8):
    return [float(f"{value:.{digits}g}") for value in tensor.flatten().tolist()]


def wave(size):
    return torch.tensor([math.sin(0.7 * index) for index in range(size)], dtype=torch.float64)


def ids_of(folder):
    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return [tokenizer.encode(sentence).ids for sentence in SENTENCES]
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
    return [tokenizer(sentence)["input_ids"] for sentence in SENTENCES]


def embed(model, ids):
    rows = [model(torch.tensor([row])).last_hidden_state[0] for row in ids]
    return rows, torch.stack([row.mean(0) for row in rows])


def make(name, folder, layers, gradients):
    folder = MODELS / folder
    model = AutoModel.from_pretrained(folder, torch_dtype=torch.float64, attn_implementation="eager")
    if layers:
        model.encoder.layer = model.encoder.layer[:layers]
    model = model.double().eval()
    ids = ids_of(folder)
    states, means = embed(model, ids)
    size = means.shape[1]
    columns = list(range(0, size, size // 6))
    golden = {
        "ids": ids,
        "columns": columns,
        # One sentence a row, tokens end to end: chosen columns, and the product with sin(0.7 i).
        "states": [rounded(rows[:, columns]) for rows in states],
        "products": [rounded(rows @ wave(size)) for rows in states],
        "means": [rounded(row) for row in means],
    }
    if gradients:
        embeddings = torch.nn.functional.normalize(means, dim=1)
        # Sentences 0 and 1 with their rewordings 4 and 5, and 2 with 3.
        logits = embeddings[[0, 1, 2]] @ embeddings[[4, 5, 3]].T / 0.05
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(3))
        loss.backward()
        golden["loss"] = loss.item()
        golden["gradients"] = {
            parameter_name: {
                "norm": gradient.norm().item(),
                "product": (gradient.flatten() @ wave(gradient.numel())).item(),
                "entries": [
                    [index, gradient.flatten()[index].item()]
                    for index in gradient.abs().flatten().topk(min(4, gradient.numel())).indices.tolist()
                ],
            }
            for parameter_name, parameter in model.named_parameters()
            if not parameter_name.startswith("pooler")
            for gradient in [parameter.grad]
        }
    text = json.dumps(golden, indent=None, separators=(",", ":"))
    (HERE / f"transformer_{name}.json").write_text(text.replace("],\"", "],\n\"") + "\n")


make("bert_tiny", "bert-tiny-zh", None, True)
make("albert_tiny", "albert-tiny-zh", None, True)
make("e5_12_layers", "multilingual-e5-small-zh-en", None, False)
make("e5_6_layers", "multilingual-e5-small-zh-en", 6, False)
