//! Runs that end well, and what they leave.

use std::path::Path;

use simcse_bench::tasks::evaluate;
use simcse_data::{DataSource, HubOptions, Split, load_pairs};
use simcse_model::{Encoder, SavedEncoder, SentenceEncoder as _};

use crate::common::transformer::{CHECKPOINT, FILES, POSITIONS, write_checkpoint};
use crate::common::{EVERYTHING, World};

/// Metrics of the encoder in `folder` on the test set of the world.
fn scores(world: &World, folder: &Path) -> simcse_bench::tasks::Scores {
    let encoder = SavedEncoder::load(folder).unwrap();
    let none = world.path("none");
    let hub = HubOptions { offline: true, cache_dir: none.clone(), ..HubOptions::from_env() };
    let source = DataSource::with_places(Some(world.path("data")), none.clone(), none, hub).unwrap();
    let sets = [Split::Dev, Split::Test].map(|split| load_pairs(&source, "lcqmc", split).unwrap());
    evaluate(&encoder, &sets).unwrap()
}

#[test]
fn a_run_records_its_checkpoint_and_saves_the_encoder_that_it_scored() {
    for arguments in [&[][..], &EVERYTHING, &["--set", "encoder.pooling=layer_mix"]] {
        let world = World::new();
        world.finish("out", arguments);
        let summary = world.summary("out");
        assert_eq!((&summary["status"], &summary["real_data"]), (&"ok".into(), &true.into()));
        let checkpoint = &world.json("out", "data.json")["checkpoint"];
        assert_eq!(
            (&checkpoint["origin"]["kind"], &checkpoint["revision"]),
            (&"own_file".into(), &().into())
        );
        let files: Vec<&str> = checkpoint["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["path"].as_str().unwrap())
            .collect();
        assert_eq!(files, FILES, "names below the folder, not the machine's");
        let own_path = world.path("").display().to_string();
        for (name, bytes) in world.run_files("out") {
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(!text.contains(own_path.trim_end_matches('/')), "{name} has a path of the machine");
            }
        }
        let found = scores(&world, &world.path(&format!("out/{}/encoder", crate::common::RUN)));
        let recorded = summary["metrics"].as_object().unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), recorded.keys().collect::<Vec<_>>());
        for (name, value) in found {
            // Numbers lose their last bit on the way through text.
            let difference = (value - recorded[&name].as_f64().unwrap()).abs();
            assert!(difference < 1e-12, "{arguments:?}: {name} differs by {difference:e}");
        }
    }
}

#[test]
fn the_first_layers_are_cut_and_the_saved_encoder_has_no_more() {
    let world = World::new();
    world.finish("out", &["--set", "encoder.layers=1"]);
    let saved = SavedEncoder::load(&world.path(&format!("out/{}/encoder", crate::common::RUN))).unwrap();
    let Encoder::Transformer(network) = &saved.encoder else { panic!("no transformer") };
    assert_eq!((network.config().num_hidden_layers, network.config().max_tokens()), (1, POSITIONS));
    assert_eq!(saved.max_tokens, 16);
}

#[test]
fn a_checkpoint_is_found_in_the_folder_of_models() {
    let world = World::new();
    world.set("checkpoint", "\"tiny\"");
    world.finish("out", &["--model-dir", "models"]);
    assert_eq!(world.json("out", "data.json")["checkpoint"]["origin"]["kind"], "model_dir");
}

/// The record knows the weights by their hash: a run with others is another run.
#[test]
fn another_checkpoint_of_the_same_name_is_other_data() {
    let world = World::new();
    world.finish("out", &[]);
    write_checkpoint(&world, CHECKPOINT, 3);
    let output = world.command("out", &[]).output().unwrap();
    let line = crate::common::error_line(&output);
    assert!(line.contains("holds a finished run with other data; fix: give --again"), "{line}");
}

#[test]
fn sentences_that_are_cut_are_counted_in_the_record() {
    let world = World::new();
    let long = "我".repeat(40);
    world.write("data/LCQMC/test.txt", format!("{long}\t天\t0\n你\t你吗\t1\n喝\t{long}\t0\n").as_bytes());
    world.finish("out", &[]);
    assert_eq!(world.summary("out")["metrics"]["evaluation_truncated"], 1.0);
}

#[test]
fn training_sentences_may_be_cut_where_those_of_the_test_are_not() {
    let world = World::new();
    world.finish("out", &["--set", "data.train_max_tokens=4"]);
    let data = world.json("out", "data.json");
    let (tokens, sentences) = (&data["tokenized"]["tokens"], &data["corpus"]["unique_sentences"]);
    assert!(tokens.as_u64().unwrap() <= 4 * sentences.as_u64().unwrap(), "{tokens} tokens");
    assert!(data["tokenized"]["truncated"].as_u64().unwrap() > 0);
    assert_eq!(world.summary("out")["metrics"]["evaluation_truncated"], 0.0);
    // Nor do the network's 24 positions limit what repetition adds to sentences that are shorter in training.
    let cut = ["--set", "data.max_tokens=24", "--set", "data.train_max_tokens=4"];
    world.finish("repeated", &[&cut[..], &["--set", "augmentation.repetition=0.5"]].concat());
    let cut = ["--set", "data.max_tokens=24", "--set", "data.train_max_tokens=20"];
    let line = World::new().error(&[&cut[..], &["--set", "augmentation.repetition=0.5"]].concat());
    assert!(line.contains("20 tokens up to 30 long") && line.contains("positions for 24"), "{line}");
}

/// Frequent tokens begin with a smaller weight, and the weights are trained and saved.
#[test]
fn token_weights_begin_with_the_frequencies_of_the_text() {
    let world = World::new();
    let weighted = ["--set", "encoder.pooling=weighted_mean", "--set", "encoder.token_weight_smoothing=0.01"];
    world.finish("out", &[&weighted[..], &["--set", "train.steps=0"]].concat());
    let folder = world.path(&format!("out/{}/encoder", crate::common::RUN));
    let Encoder::Transformer(network) = SavedEncoder::load(&folder).unwrap().encoder else {
        panic!("no transformer")
    };
    let weights: Vec<f32> =
        network.parameters().get("head.token_weights").unwrap().as_tensor().to_vec1().unwrap();
    // `[CLS]` stands in every sentence, `[MASK]` in none.
    let (frequent, never) = (weights[2], weights[4]);
    assert!(frequent < -1.0 && never == 0.0, "{frequent}, {never}");
    world.finish("trained", &weighted);
}
