//! A tiny checkpoint with random weights, and a configuration that trains it.
//!
//! Not a test of this crate: the tests of the experiments share it.
#![allow(dead_code, reason = "each experiment uses a part")]

use simcse_data::PretrainedTokenizer;
use simcse_model::transformer::{Architecture, HiddenActivation};
use simcse_model::{Pooling, SavedEncoder, Transformer, TransformerConfig, TransformerOptions};
use simcse_random::Stream;

use super::world::{CHARACTERS, World};

/// Where [`write_checkpoint`] is told to write by the configuration of [`config`].
pub(crate) const CHECKPOINT: &str = "models/tiny";
/// Positions of the checkpoint.
pub(crate) const POSITIONS: usize = 24;
/// The files of a checkpoint.
pub(crate) const FILES: [&str; 3] = ["config.json", "model.safetensors", "vocab.txt"];

/// InfoNCE without hard negatives.
pub(crate) const INFO_NCE: &str = "kind = \"info_nce\"\ncandidates = \"n\"\nsymmetric = false\nsimilarity = \"cosine\"\ntemperature = 0.05\n";

/// Tokens of the made-up sentences, and of a prefix.
pub(crate) fn vocabulary() -> Vec<String> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "问", ":", "吗", "。"];
    let characters = CHARACTERS.chars().map(String::from);
    special.into_iter().map(str::to_owned).chain(characters).collect()
}

/// A BERT of so many layers of 16 as `transformers` saves it.
pub(crate) fn write_checkpoint(world: &World, folder: &str, layers: usize) {
    let vocabulary = vocabulary();
    world.write(&format!("{folder}/vocab.txt"), (vocabulary.join("\n") + "\n").as_bytes());
    let config = TransformerConfig {
        architecture: Architecture::Bert,
        vocab_size: vocabulary.len(),
        embedding_size: 16,
        hidden_size: 16,
        num_hidden_layers: layers,
        num_attention_heads: 2,
        intermediate_size: 32,
        hidden_act: HiddenActivation::Gelu,
        max_position_embeddings: POSITIONS,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        pad_token_id: 0,
    };
    let options = TransformerOptions::evaluation(Pooling::Cls);
    let network = Transformer::new(config, &options, Stream::from_seed(1)).unwrap();
    let tokenizer =
        PretrainedTokenizer::from_vocab_file(&world.path(&format!("{folder}/vocab.txt")), true).unwrap();
    // Of the directory of an encoder the files that a checkpoint has, too.
    let saved = tempfile::tempdir().unwrap();
    SavedEncoder::new(network, tokenizer, POSITIONS).save(saved.path()).unwrap();
    for name in &FILES[..2] {
        world.write(&format!("{folder}/{name}"), &std::fs::read(saved.path().join(name)).unwrap());
    }
}

/// Twelve steps of batches of 8, measured on LCQMC. `data`: the line of sources; `loss`: the section without its
/// header.
pub(crate) fn config(experiment: &str, data: &str, loss: &str) -> String {
    format!(
        r#"experiment = "{experiment}"
name = "small"
label = "small"
group = "headline"
seed = 1

[data]
{data}
transductive = false
max_tokens = 16

[encoder]
kind = "transformer"
checkpoint = "{CHECKPOINT}"
pooling = "mean"
hidden_dropout = 0.1
attention_dropout = 0.1

[augmentation]
crop = 0.0
span_deletion = 0.0
deletion = 0.0
repetition = 0.0
shuffle_window = 0
full_shuffle = 0.0

[loss]
{loss}
[train]
batch_size = 8
steps = 12
learning_rate = 1e-3
schedule = "linear"
warmup_steps = 0
beta1 = 0.9
beta2 = 0.999
epsilon = 1e-8
weight_decay = 0.0
max_gradient_norm = 1.0
evaluate_every = 4
early_stop_patience = 0
checkpoint_every = 5

[health]
identical_views_allowed = false
chance_level_steps = 0

[evaluation]
tasks = ["lcqmc"]
select_on = ["lcqmc"]
select_pairs = 0
"#
    )
}
