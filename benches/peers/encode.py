"""Sentences per second of `SentenceTransformer.encode`, mean pooling; with --backend onnx through onnxruntime."""
import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
from sentence_transformers import SentenceTransformer, models

import common

options = common.parser(__doc__)
options.add_argument("--model", required=True, help="folder of a checkpoint")
options.add_argument("--backend", choices=["torch", "onnx"], default="torch")
options.add_argument("--sentences", type=int, default=10_000)
options.set_defaults(batch_size=32, steps=3, warm_up=1)
options = options.parse_args()


def with_float32_weights(model, folder):
    """A copy whose weights are float32 on disk: an export keeps the type that it finds."""
    original = models.Transformer(model)
    original.auto_model.float().save_pretrained(folder)
    original.tokenizer.save_pretrained(folder)
    return folder


folder = tempfile.TemporaryDirectory()
source = options.model if options.backend == "torch" else with_float32_weights(options.model, folder.name)
body = models.Transformer(source, max_seq_length=256, backend=options.backend)
model = SentenceTransformer(modules=[body, models.Pooling(body.get_word_embedding_dimension(), "mean")], device="cpu")
if options.backend == "torch":
    model = model.bfloat16() if options.precision == "bf16" else model.float()
sentences = common.read_sentences(options.texts)[: options.sentences]


def step():
    model.encode(sentences, batch_size=options.batch_size, convert_to_tensor=True, show_progress_bar=False)
    return 0.0


milliseconds, _ = common.time_steps(step, options)
common.report(milliseconds, len(sentences), batch_size=options.batch_size, backend=options.backend)
