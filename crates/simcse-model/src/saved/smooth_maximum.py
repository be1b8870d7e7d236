"""The pooling `smooth_maximum` of this encoder, for sentence-transformers (load it with `trust_remote_code=True`)."""
import json
import os

import torch
from safetensors.torch import load_file, save_file


class SmoothMaximum(torch.nn.Module):
    """ln(sum w exp(b x) / sum w) / b for each feature x of the token states, with a weight w for each token id."""

    def __init__(self, size, token_weights, sharpness):
        super().__init__()
        self.size = size
        self.token_weights = torch.nn.Parameter(token_weights)
        self.sharpness = torch.nn.Parameter(sharpness)

    def forward(self, features):
        states, mask = features["token_embeddings"], features["attention_mask"].bool()
        weights = self.token_weights[features["input_ids"]].masked_fill(~mask, float("-inf"))
        powers = torch.logsumexp(weights.unsqueeze(2) + self.sharpness * states, dim=1)
        total = torch.logsumexp(weights, dim=1, keepdim=True)
        features["sentence_embedding"] = (powers - total) / self.sharpness
        return features

    def get_sentence_embedding_dimension(self):
        return self.size

    def get_embedding_dimension(self):
        return self.size

    def save(self, path, *arguments, **options):
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, "config.json"), "w") as file:
            json.dump({"word_embedding_dimension": self.size}, file)
        tensors = {"token_weights": self.token_weights.data, "sharpness": self.sharpness.data}
        save_file(tensors, os.path.join(path, "model.safetensors"))

    @staticmethod
    def load(path):
        with open(os.path.join(path, "config.json")) as file:
            size = json.load(file)["word_embedding_dimension"]
        return SmoothMaximum(size, **load_file(os.path.join(path, "model.safetensors")))
