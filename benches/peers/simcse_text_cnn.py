"""Training steps of unsupervised SimCSE with a TextCNN: InfoNCE at temperature .05, gradient clipping, fused AdamW."""
import torch
import torch.nn.functional as F

import common
import text_cnn

options = text_cnn.parser(__doc__).parse_args()
sequences, rows = text_cnn.characters(options)
batches = common.batches_of_two_views(sequences, options.batch_size)
encoder = text_cnn.TextCnn(rows, options).train()
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
