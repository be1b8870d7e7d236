//! Checkpoints that are absent, broken or do not fit: one line, and nothing is written.

use crate::common::transformer::{CHECKPOINT, write_checkpoint};
use crate::common::{World, assert_says};

fn file(name: &str) -> String {
    format!("{CHECKPOINT}/{name}")
}

#[test]
fn a_checkpoint_that_is_nowhere() {
    let world = World::new();
    world.set("checkpoint", "\"bert-base-nowhere\"");
    let fix = "fix: give a folder, or the name of a model on the hub such as ";
    let line = world.error(&[]);
    assert_says(&line, "model bert-base-nowhere not found", &["looked in: the working folder", fix]);
    let line = world.error(&["--model-dir", "models"]);
    assert_says(&line, "model bert-base-nowhere not found", &["the model folder models", fix]);
    let line = world.error(&["--model-dir", "nowhere"]);
    assert_says(&line, "model folder nowhere not found", &["fix: correct --model-dir or SIMCSE_MODEL_DIR"]);
}

#[test]
fn a_model_of_the_hub_without_a_network() {
    let world = World::new();
    world.set("checkpoint", "\"google-bert/bert-base-chinese\"");
    let line = world.error(&[]);
    assert_says(&line, "", &["google-bert/bert-base-chinese", "HF_HUB_OFFLINE", "fix: "]);
}

#[test]
fn files_that_are_lacking() {
    for (name, parts) in [
        ("config.json", "config.json"),
        ("model.safetensors", "model.safetensors"),
        ("vocab.txt", "neither tokenizer.json nor vocab.txt"),
    ] {
        let world = World::new();
        std::fs::remove_file(world.path(&file(name))).unwrap();
        assert_says(&world.error(&[]), "", &[CHECKPOINT, parts, "fix: "]);
    }
}

#[test]
fn weights_that_are_lacking() {
    let world = World::new();
    let two_layers = world.read(&file("config.json"));
    write_checkpoint(&world, CHECKPOINT, 1);
    world.write(&file("config.json"), two_layers.as_bytes());
    let parts = [
        "missing weights: encoder.layer.1.attention.self.query.weight, encoder.layer.1.",
        "fix: use the config.json and the weights of one BERT",
    ];
    assert_says(&world.error(&[]), CHECKPOINT, &parts);
    world.finish("whole", &["--set", "encoder.layers=1"]);
}

#[test]
fn weights_that_are_cut_short() {
    let world = World::new();
    let bytes = std::fs::read(world.path(&file("model.safetensors"))).unwrap();
    world.write(&file("model.safetensors"), &bytes[..bytes.len() / 2]);
    assert_says(&world.error(&[]), &file("model.safetensors"), &["fix: copy the model's folder again"]);
}

#[test]
fn more_layers_than_there_are() {
    let line = World::new().error(&["--set", "encoder.layers=3"]);
    assert_says(&line, &file("config.json"), &["has 2 layers, 3 are asked for", "fix: give 1 to 2"]);
}

#[test]
fn more_tokens_than_there_are_positions() {
    let world = World::new();
    let line = world.error(&["--set", "data.max_tokens=25"]);
    let fix = "fix: give 24 or less";
    assert_says(&line, "data.max_tokens = 25, but models/tiny has positions for 24 tokens", &[fix]);
    let line = world.error(&["--set", "data.max_tokens=20", "--set", "augmentation.repetition=0.32"]);
    let parts = ["20 tokens up to 26 long", "positions for 24", "fix: lower data.max_tokens"];
    assert_says(&line, "augmentation.repetition", &parts);
}

#[test]
fn a_tokenizer_of_another_model() {
    let world = World::new();
    let vocabulary = world.read(&file("vocab.txt"));
    world.write(&file("vocab.txt"), format!("{vocabulary}甲\n乙\n").as_bytes());
    let parts = ["36 tokens", "vectors for 34", "fix: use the model's own tokenizer"];
    assert_says(&world.error(&[]), CHECKPOINT, &parts);
}

#[test]
fn a_pooling_that_is_unknown() {
    let world = World::new();
    let line = world.set("pooling", "\"average\"");
    let parts = ["unknown variant `average`", "`cls_tanh_in_training`", "`first_last_mean`", "fix: "];
    assert_says(&world.error(&[]), &format!("small.toml:{line}: encoder.pooling: "), &parts);
}

/// Masked language modelling needs a token to mask with.
#[test]
fn a_tokenizer_that_cannot_mask() {
    let world = World::new();
    let vocabulary = world.read(&file("vocab.txt")).replace("[MASK]", "甲");
    world.write(&file("vocab.txt"), vocabulary.as_bytes());
    let line = world.error(&["--set", "masked_language={weight=0.1,rate=0.15}"]);
    assert_says(&line, "", &["mask token", "fix: "]);
}

/// What the networks of the hub are named like, but nobody has trained: a configuration of another kind.
#[test]
fn a_model_of_another_architecture() {
    let world = World::new();
    let config = world.read(&file("config.json")).replace("\"bert\"", "\"gpt2\"");
    world.write(&file("config.json"), config.as_bytes());
    assert_says(&world.error(&[]), &file("config.json"), &["gpt2", "fix: use a model of one of the types"]);
}
