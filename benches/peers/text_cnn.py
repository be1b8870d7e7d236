"""A TextCNN over characters (Kim 2014): widths 2 to 5, maximum over time, dropout .1 on character vectors and maxima."""
import torch
import torch.nn.functional as F

import common


def parser(description):
    options = common.parser(description)
    options.add_argument("--embedding-size", type=int, default=300)
    options.add_argument("--maps", type=int, default=256)
    options.add_argument("--vocabulary-size", type=int, default=21128)
    return options


def characters(options):
    """The sentences as numbers of characters from 2 on, and how many numbers there are."""
    sentences = common.read_sentences(options.texts)
    signs = sorted({sign for sentence in sentences for sign in sentence if not sign.isspace()})
    number = {sign: place + 2 for place, sign in enumerate(signs)}
    sequences = [[number[sign] for sign in sentence if sign in number][: options.max_tokens] for sentence in sentences]
    return sequences, max(options.vocabulary_size, len(number) + 2)


class TextCnn(torch.nn.Module):
    def __init__(self, rows, options):
        super().__init__()
        self.embedding = torch.nn.Embedding(rows, options.embedding_size, padding_idx=0)
        convolution = lambda width: torch.nn.Conv1d(options.embedding_size, options.maps, width, padding=width - 1)
        self.convolutions = torch.nn.ModuleList(convolution(width) for width in (2, 3, 4, 5))

    def forward(self, ids):
        vectors = F.dropout(self.embedding(ids), 0.1, self.training).transpose(1, 2)
        maxima = [F.relu(convolution(vectors)).amax(2) for convolution in self.convolutions]
        return F.dropout(torch.cat(maxima, 1), 0.1, self.training)
