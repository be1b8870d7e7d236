"""Writes text_cnn.json: a tiny TextCNN in PyTorch, its output and its gradients.

    pip install torch numpy
    python make_text_cnn.py        # overwrites text_cnn.json beside this file

The reference knows no batch: every sentence goes through alone, so no padding of a batch can touch the
result. Each width pads a sentence with `width - 1` zero vectors on both sides. Dropout is off.

Layout of the file: `config`; `sentences` (token ids); `parameters`, `output_weights`, `output` and
`gradients` as {"shape": [...], "values": [...]} in row-major order. `convolutions.{i}.weight` has the
layout of torch.nn.Conv1d, [maps, embedding_size, width]. `gradients` are those of
sum(output * output_weights).
"""

import json
from pathlib import Path

import torch

VOCABULARY_SIZE, EMBEDDING_SIZE, WIDTHS, MAPS = 11, 5, [1, 2, 3, 4], 3
# Lengths 1, 2, 3, 7, 4. Tokens repeat within and between sentences, so that gradients add up; id 0 and
# id 10 never occur, so that their rows must get none.
SENTENCES = [[4], [9, 1], [3, 4, 7], [2, 6, 2, 8, 5, 1, 3], [7, 7, 1, 9]]


class TextCnn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE)
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv1d(EMBEDDING_SIZE, MAPS, width, padding=width - 1) for width in WIDTHS
        )

    def encode(self, sentence):
        x = self.embedding(torch.tensor(sentence)).T.unsqueeze(0)  # [1, E, n]
        return torch.cat([torch.relu(c(x)).amax(dim=2) for c in self.convolutions], dim=1)  # [1, maps * widths]

    def forward(self, sentences):
        return torch.cat([self.encode(sentence) for sentence in sentences])  # [sentences, maps * widths]


def dump(tensor):
    """Nine significant digits give back the same float32."""
    return {"shape": list(tensor.shape), "values": [float(f"{value:.9g}") for value in tensor.flatten().tolist()]}


def main():
    torch.manual_seed(20240)
    torch.set_num_threads(1)
    model = TextCnn()
    with torch.no_grad():  # lower biases: some maps stay below zero for a whole sentence
        for convolution in model.convolutions:
            convolution.bias -= 0.4
    output = model(SENTENCES)
    output_weights = torch.randn_like(output)
    (output * output_weights).sum().backward()
    assert (output == 0).any() and (output > 0).any(), "the fixture must see ReLU in both states"

    golden = {
        "torch": torch.__version__.split("+")[0],
        "config": {
            "vocabulary_size": VOCABULARY_SIZE,
            "embedding_size": EMBEDDING_SIZE,
            "widths": WIDTHS,
            "maps": MAPS,
        },
        "sentences": SENTENCES,
        "parameters": {name: dump(p.detach()) for name, p in model.named_parameters()},
        "output_weights": dump(output_weights),
        "output": dump(output.detach()),
        "gradients": {name: dump(p.grad) for name, p in model.named_parameters()},
    }
    path = Path(__file__).with_name("text_cnn.json")
    path.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
