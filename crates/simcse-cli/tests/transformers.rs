//! The command on transformers: trained encoders, directories of sentence-transformers, checkpoints as they are.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

#[path = "../../simcse-bench/tests/support/transformer.rs"]
mod transformer;
#[path = "../../simcse-bench/tests/support/world.rs"]
mod world;

use std::process::{Command, Output};

use simcse_bench::tasks::{Scores, evaluate};
use simcse_data::{DataSource, HubOptions, PretrainedTokenizer, Split, load_pairs};
use simcse_model::{DropoutRates, Pooling, SavedEncoder, Transformer, TransformerOptions};
use simcse_random::Stream;
use transformer::{CHECKPOINT, POSITIONS, write_checkpoint};
use world::{World, stderr};

/// LCQMC and a checkpoint of two layers; there is no configuration to run.
fn world() -> World {
    let world = World::with(env!("CARGO_BIN_EXE_simcse"), "", "");
    write_checkpoint(&world, CHECKPOINT, 2);
    world
}

fn simcse(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simcse"));
    world.prepare(&mut command);
    command.args(arguments).output().unwrap()
}

/// `simcse evaluate` on LCQMC's test set.
fn scores(world: &World, arguments: &[&str]) -> Scores {
    let all = [&["evaluate"], arguments, &["--data-dir", "data", "--json", "--tasks", "lcqmc"]].concat();
    let output = simcse(world, &[&all[..], &["--splits", "test"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The single line of error of `simcse evaluate`.
fn error(world: &World, arguments: &[&str]) -> String {
    let output = simcse(world, &[&["evaluate"], arguments, &["--data-dir", "data"]].concat());
    let text = stderr(&output);
    assert_eq!((output.status.code(), text.lines().count(), output.stdout.len()), (Some(1), 1, 0), "{text}");
    text
}

/// The checkpoint as an encoder, made without the command.
fn encoder(world: &World, layers: usize, pooling: Pooling, prefix: &str, max_tokens: usize) -> SavedEncoder {
    let folder = world.path(CHECKPOINT);
    let options = TransformerOptions {
        layers: Some(layers),
        dropout: DropoutRates::NONE,
        masked_lm: false,
        ..TransformerOptions::evaluation(pooling)
    };
    let network = Transformer::load(&folder, &options, Stream::from_seed(9)).unwrap();
    let tokenizer = PretrainedTokenizer::from_folder(&folder).unwrap();
    let prefix = prefix.to_owned();
    SavedEncoder { prefix, ..SavedEncoder::new(network, tokenizer, max_tokens) }
}

fn expected(world: &World, encoder: &SavedEncoder) -> Scores {
    let none = world.path("none");
    let hub = HubOptions { offline: true, cache_dir: none.clone(), ..HubOptions::from_env() };
    let source = DataSource::with_places(Some(world.path("data")), none.clone(), none, hub).unwrap();
    evaluate(encoder, &[load_pairs(&source, "lcqmc", Split::Test).unwrap()]).unwrap()
}

/// Numbers lose their last bit on the way through text.
fn assert_same(found: &Scores, wanted: &Scores) {
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (name, value) in found {
        assert!((value - wanted[name]).abs() < 1e-12, "{name}: {value} against {}", wanted[name]);
    }
}

#[test]
fn a_checkpoint_is_scored_as_it_is() {
    let world = world();
    let mean = scores(&world, &[CHECKPOINT, "--pooling", "mean"]);
    assert_same(&mean, &expected(&world, &encoder(&world, 2, Pooling::Mean, "", POSITIONS)));
    let first = scores(&world, &[CHECKPOINT, "--pooling", "cls", "--layers", "1", "--prefix", "问:"]);
    assert_same(&first, &expected(&world, &encoder(&world, 1, Pooling::Cls, "问:", POSITIONS)));
    let cut = scores(&world, &["tiny", "--model-dir", "models", "--pooling", "max", "--max-tokens", "5"]);
    assert_same(&cut, &expected(&world, &encoder(&world, 2, Pooling::Max, "", 5)));
    assert!(cut["evaluation_truncated"] > 10.0 && mean["evaluation_truncated"] == 0.0);
    assert_ne!(mean["lcqmc/test/pearson"], first["lcqmc/test/pearson"]);
}

#[test]
fn a_saved_transformer_is_scored_and_embeds() {
    let world = world();
    let encoder = encoder(&world, 2, Pooling::FirstLastMean, "问:", 8);
    encoder.save(&world.path("encoder")).unwrap();
    assert_same(&scores(&world, &["encoder"]), &expected(&world, &encoder));

    world.write("text.txt", "我你他\n我你他们的了是在有这不会能借还\n我你他\n".as_bytes());
    let output = simcse(&world, &["encode", "encoder", "text.txt", "--out", "out.tsv"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let wanted = "1 of 2 different sentences were longer than the encoder takes, and cut off";
    assert_eq!(said.lines().last(), Some(wanted), "{said}");
    let found: Vec<f32> =
        world.read("out.tsv").split_whitespace().map(|field| field.parse().unwrap()).collect();
    let sentences = ["我你他", "我你他们的了是在有这不会能借还", "我你他"];
    let wanted = encoder.embed(&sentences).unwrap().embeddings;
    assert_eq!(found.len(), wanted.len());
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} against {wanted:?}");
}

#[test]
fn sentences_that_are_cut_are_counted_on_standard_error() {
    let world = world();
    encoder(&world, 2, Pooling::Mean, "", 5).save(&world.path("encoder")).unwrap();
    let arguments = ["evaluate", "encoder", "--data-dir", "data", "--tasks", "lcqmc", "--splits", "test"];
    let output = simcse(&world, &arguments);
    let cut = scores(&world, &["encoder"])["evaluation_truncated"];
    let wanted = format!("{cut} sentences were longer than the encoder takes, and cut off\n");
    assert!(stderr(&output).ends_with(&wanted) && cut > 10.0, "{}", stderr(&output));
}

#[test]
fn a_directory_of_sentence_transformers_needs_no_pooling() {
    let world = world();
    let encoder = encoder(&world, 2, Pooling::Mean, "", POSITIONS);
    encoder.save(&world.path("encoder")).unwrap();
    std::fs::remove_file(world.path("encoder/simcse.json")).unwrap();
    assert_same(&scores(&world, &["encoder"]), &expected(&world, &encoder));
}

#[test]
fn what_cannot_be_scored_says_why() {
    let world = world();
    for (arguments, parts) in [
        (&[CHECKPOINT][..], ["does not say how its tokens become an embedding", "--pooling mean"]),
        (&[CHECKPOINT, "--pooling", "cls_tanh"], ["a layer that training has to fill", "another pooling"]),
        (
            &[CHECKPOINT, "--pooling", "cls", "--layers", "3"],
            ["has 2 layers, 3 are asked for", "give 1 to 2"],
        ),
        (&[CHECKPOINT, "--pooling", "cls", "--max-tokens", "25"], ["positions for 24", "give 24 or less"]),
        (&["nowhere", "--pooling", "cls"], ["model nowhere not found", "give a folder"]),
        (&["owner/name", "--pooling", "cls"], ["owner/name", "HF_HUB_OFFLINE"]),
        (
            &["tiny", "--pooling", "cls", "--model-dir", "none"],
            ["model folder none not found", "--model-dir"],
        ),
    ] {
        let line = error(&world, arguments);
        assert!(line.contains("fix: ") && parts.iter().all(|part| line.contains(part)), "{line}");
    }
    let output = simcse(&world, &["evaluate", CHECKPOINT, "--pooling", "sum"]);
    let text = stderr(&output);
    assert!(output.status.code() == Some(2) && text.contains("`first_last_mean`"), "{text}");
    let output = simcse(&world, &["evaluate", "encoder", "--layers", "1"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("--pooling"), "{}", stderr(&output));
}
