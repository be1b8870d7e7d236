"""Training steps of AM-Softmax (s = 30, m = .35) with a TextCNN: every sentence is a class, two dropout views of each;
gradient clipping of the encoder, fused AdamW for encoder and class centres."""
import torch
import torch.nn.functional as F

import common
import text_cnn

SCALE, MARGIN = 30.0, 0.35

parser = text_cnn.parser(__doc__)
parser.add_argument("--classes", type=int, default=100_000)
options = parser.parse_args()
sequences, rows = text_cnn.characters(options)
batches = common.batches_of_two_views(list(enumerate(sequences[: options.classes])), options.batch_size)
encoder = text_cnn.TextCnn(rows, options).train()
centres = torch.nn.Parameter(0.01 * torch.randn(options.classes, 4 * options.maps))
optimizer = torch.optim.AdamW([*encoder.parameters(), centres], lr=1e-3, weight_decay=0.0, fused=True)


def step():
    labels, batch = zip(*next(batches))
    labels = torch.tensor(labels)
    ids, _ = common.pad(batch, 0)
    cosines = F.normalize(encoder(ids)) @ F.normalize(centres).T
    cosines[torch.arange(len(labels)), labels] -= MARGIN
    loss = F.cross_entropy(SCALE * cosines, labels)
    return common.update(loss, optimizer, encoder.parameters())


milliseconds, loss = common.time_steps(step, options)
mean_tokens = sum(map(len, sequences)) / len(sequences)
common.report(milliseconds, options.batch_size, batch_size=options.batch_size, last_loss=loss, mean_tokens=mean_tokens)
