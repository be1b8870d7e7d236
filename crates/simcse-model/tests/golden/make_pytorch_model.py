"""Writes pytorch_model/: a small BERT as PyTorch pickles it, whole (float16 and float32 mixed, prefixed, with a
buffer and a head beside it) and in two shards, and the same weights as JSON.

python make_pytorch_model.py    (torch 2.15, transformers 5.23)
"""
import json
import pathlib

import torch
from transformers import BertConfig, BertModel

HERE = pathlib.Path(__file__).parent / "pytorch_model"
torch.manual_seed(0)
config = BertConfig(vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=10,
                    max_position_embeddings=9)
model = BertModel(config, add_pooling_layer=False)
# Half precision holds these exactly, so that the file may mix types.
weights = {name: tensor.detach().half().float().contiguous() for name, tensor in model.state_dict().items()
           if "position_ids" not in name and "token_type_ids" not in name}
for name in ["whole", "sharded"]:
    (HERE / name).mkdir(parents=True, exist_ok=True)
    (HERE / name / "config.json").write_text(json.dumps({
        "model_type": "bert", "vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 10, "hidden_act": "gelu", "max_position_embeddings": 9}) + "\n")
(HERE / "expected.json").write_text(json.dumps({
    name: {"shape": tensor.shape, "values": tensor.flatten().tolist()} for name, tensor in weights.items()}) + "\n")
whole = {f"bert.{name}": tensor.half() if "dense" in name else tensor for name, tensor in weights.items()}
whole["bert.embeddings.position_ids"] = torch.arange(9).expand((1, -1))
whole["cls.predictions.bias"] = torch.zeros(12)
# A transposed view: the strides in the file are not those of a fresh tensor.
name = "bert.encoder.layer.0.attention.self.key.weight"
whole[name] = whole[name].t().contiguous().t()
torch.save(whole, HERE / "whole/pytorch_model.bin")
names = list(weights)
shards = {"pytorch_model-00001-of-00002.bin": names[:7], "pytorch_model-00002-of-00002.bin": names[7:]}
for file, part in shards.items():
    torch.save({name: weights[name] for name in part}, HERE / "sharded" / file)
(HERE / "sharded/pytorch_model.bin.index.json").write_text(json.dumps({
    "metadata": {"total_size": sum(tensor.nbytes for tensor in weights.values())},
    "weight_map": {name: file for file, part in shards.items() for name in part}}, indent=1) + "\n")
