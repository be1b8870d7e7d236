"""Training steps of unsupervised SimCSE with `transformers.BertModel`: two dropout views, [CLS] through a layer with tanh,
InfoNCE at temperature .05, gradient clipping, fused AdamW; batches padded to their longest sentence."""
import contextlib
import json
import pathlib

import torch
from safetensors.torch import load_file
from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import BertConfig, BertModel

import common

options = common.parser(__doc__)
options.add_argument("--model", required=True, help="folder of a checkpoint")
options.add_argument("--network", help="another config.json: that network with random weights")
options.add_argument("--layers", type=int)
options.add_argument("--equal-length", type=int)
options = options.parse_args()

folder = pathlib.Path(options.model)
config = BertConfig(**json.loads(pathlib.Path(options.network or folder / "config.json").read_text()))
config.num_hidden_layers = options.layers or config.num_hidden_layers
encoder = BertModel(config, add_pooling_layer=False)
if not options.network:
    weights = load_file(folder / "model.safetensors")
    encoder.load_state_dict({name.removeprefix("bert."): value.float() for name, value in weights.items()}, strict=False)
head = torch.nn.Linear(config.hidden_size, config.hidden_size)
encoder.train()
parameters = [*encoder.parameters(), *head.parameters()]
optimizer = torch.optim.AdamW(parameters, lr=3e-5, weight_decay=0.0, fused=True)

if (folder / "tokenizer.json").exists():
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
else:
    tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"))
tokenizer.no_padding()
tokenizer.enable_truncation(options.max_tokens)
sequences = [encoding.ids for encoding in tokenizer.encode_batch(common.read_sentences(options.texts))]
if options.equal_length:
    sequences = common.of_equal_length(sequences, options.equal_length)
batches = common.batches_of_two_views(sequences, options.batch_size)


def precision():
    if options.precision == "bf16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def step():
    ids, mask = common.pad(next(batches), config.pad_token_id)
    with precision():
        first = encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        embeddings = torch.tanh(head(first))
    return common.update(common.contrast(*embeddings.float().chunk(2)), optimizer, parameters)


milliseconds, loss = common.time_steps(step, options)
mean_tokens = sum(map(len, sequences)) / len(sequences)
common.report(milliseconds, options.batch_size, batch_size=options.batch_size, last_loss=loss, mean_tokens=mean_tokens)
