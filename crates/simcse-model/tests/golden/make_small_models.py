"""Writes small_models/: random BERT, ALBERT, RoBERTa and XLM-R with their heads of masked language modelling, and
golden.json with their token states and logits.

python make_small_models.py    (torch 2.15, transformers 5.23; computed in float64 from float32 weights)
"""
import json
import pathlib

import torch
from transformers import AlbertConfig, AutoModelForMaskedLM, BertConfig, RobertaConfig, XLMRobertaConfig

HERE = pathlib.Path(__file__).parent / "small_models"
SENTENCES = [[2, 5, 9, 11, 3], [2, 4], [2, 10, 6, 3]]
POSITIONS = [[0, 1], [0, 3], [2, 2]]  # Sentence and token.
torch.manual_seed(5)
sizes = dict(vocab_size=14, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
             layer_norm_eps=1e-5, attn_implementation="eager")
configs = {
    "bert": BertConfig(hidden_act="relu", max_position_embeddings=6, **sizes),
    "albert": AlbertConfig(embedding_size=6, hidden_act="gelu_new", max_position_embeddings=6, **sizes),
    "roberta": RobertaConfig(hidden_act="gelu", max_position_embeddings=8, pad_token_id=1, **sizes),
    "xlm-roberta": XLMRobertaConfig(hidden_act="gelu", max_position_embeddings=8, pad_token_id=1, **sizes),
}


def rounded(tensor):
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


golden = {"sentences": SENTENCES, "positions": POSITIONS, "models": {}}
for name, config in configs.items():
    model = AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(
        {key: value for key, value in config.to_dict().items()
         if key in {*sizes, "model_type", "embedding_size", "hidden_act", "max_position_embeddings", "pad_token_id",
                    "type_vocab_size"}}) + "\n")
    weights = {key: tensor.contiguous() for key, tensor in model.state_dict().items()
               if "decoder" not in key}
    torch.save(weights, folder / "pytorch_model.bin")
    model = model.double()
    states, logits = [], []
    with torch.no_grad():
        outputs = [model(torch.tensor([ids]), output_hidden_states=True) for ids in SENTENCES]
        golden["models"][name] = {
            "states": [[rounded(layer[0]) for layer in output.hidden_states] for output in outputs],
            "logits": [rounded(outputs[sentence].logits[0, token]) for sentence, token in POSITIONS],
        }
(HERE / "golden.json").write_text(json.dumps(golden, separators=(",", ":")).replace("],[", "],\n[") + "\n")
