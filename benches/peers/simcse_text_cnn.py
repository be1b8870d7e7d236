"""Training steps of unsupervised SimCSE with a TextCNN: InfoNCE at temperature .05, gradient clipping, fused AdamW."""
import torch

import common
import text_cnn

options = text_cnn.parser(__doc__).parse_args()
sequences, rows = text_cnn.characters(options)
batches = common.batches_of_two_views(sequences, options.batch_size)
encoder = text_cnn.TextCnn(rows, options).train()
optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-3, weight_decay=0.0, fused=True)


def step():
    ids, _ = common.pad(next(batches), 0)
    return common.update(common.contrast(*encoder(ids).chunk(2)), optimizer, encoder.parameters())


milliseconds, loss = common.time_steps(step, options)
mean_tokens = sum(map(len, sequences)) / len(sequences)
common.report(milliseconds, options.batch_size, batch_size=options.batch_size, last_loss=loss, mean_tokens=mean_tokens)
