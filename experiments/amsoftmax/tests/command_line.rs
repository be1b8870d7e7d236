//! Sentences as classes by the built program, with a table of centres and with centres of the batch.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

#[path = "../../../crates/simcse-bench/tests/support/world.rs"]
mod world;

use world::{World, small_text_cnn};

const CONFIG: &str = include_str!("../configs/headline.toml");
const OF_THE_BATCH: &str = r#"loss={kind="batch_centres",views=4,scale=20.0,margin=0.1}"#;
const CENTRED: &str = r#"loss.initial_centres="centred_embeddings""#;

fn world() -> World {
    World::with(env!("CARGO_BIN_EXE_exp-amsoftmax"), "runs/amsoftmax/headline-s1", &small_text_cnn(CONFIG))
}

#[test]
fn a_table_of_centres_and_centres_of_the_batch_are_trained_and_scored() {
    for (changes, has_table) in
        [(vec![], true), (vec!["--set", CENTRED], true), (vec!["--set", OF_THE_BATCH], false)]
    {
        let world = world();
        world.finish("out", &changes);
        let summary = world.summary("out");
        assert_eq!(summary["status"], "ok", "{changes:?}");
        assert_eq!(summary["metrics"]["class_accuracy"].is_number(), has_table, "{changes:?}");
        world.finish("again", &changes);
        assert_eq!(world.summary("again")["metrics"], summary["metrics"], "{changes:?}: the same numbers");
    }
}

#[test]
fn centres_that_begin_elsewhere_lead_elsewhere() {
    let world = world();
    world.finish("plain", &[]);
    world.finish("centred", &["--set", CENTRED]);
    assert_ne!(world.summary("plain")["metrics"], world.summary("centred")["metrics"]);
}
