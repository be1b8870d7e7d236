"""Training steps of unsupervised SimCSE with a TextCNN over characters: widths 2 to 5, maximum over time, dropout .1 on
character vectors and maxima, InfoNCE at temperature .05, gradient clipping, fused AdamW."""
import torch
import torch.nn.functional as F

import common

options = common.parser(__doc__)
options.add_argument("--embedding-size", type=int, default=300)
options.add_argument("--maps", type=int, default=256)
options.add_argument("--vocabulary-size", type=int, default=21128)
options = options.parse_args()

sentences = common.read_sentences(options.texts)
characters = sorted({character for sentence in sentences for character in sentence if not character.isspace()})
number = {character: place + 2 for place, character in enumerate(characters)}
sequences = [[number[c] for c in sentence if c in number][: options.max_tokens] for sentence in sentences]
batches = common.batches_of_two_views(sequences, options.batch_size)


class TextCnn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        rows = max(options.vocabulary_size, len(number) + 2)
        self.embedding = torch.nn.Embedding(rows, options.embedding_size, padding_idx=0)
        convolution = lambda width: torch.nn.Conv1d(options.embedding_size, options.maps, width, padding=width - 1)
        self.convolutions = torch.nn.ModuleList(convolution(width) for width in (2, 3, 4, 5))

    def forward(self, ids):
        vectors = F.dropout(self.embedding(ids), 0.1, self.training).transpose(1, 2)
        maxima = [F.relu(convolution(vectors)).amax(2) for convolution in self.convolutions]
        return F.dropout(torch.cat(maxima, 1), 0.1, self.training)


encoder = TextCnn().train()
optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-3, weight_decay=0.0, fused=True)


def step():
    ids, _ = common.pad(next(batches), 0)
    first_view, second_view = F.normalize(encoder(ids)).chunk(2)
    loss = F.cross_entropy(first_view @ second_view.T / 0.05, torch.arange(len(first_view)))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


milliseconds, loss = common.time_steps(step, options)
mean_tokens = sum(map(len, sequences)) / len(sequences)
common.report(milliseconds, options.batch_size, batch_size=options.batch_size, last_loss=loss, mean_tokens=mean_tokens)
