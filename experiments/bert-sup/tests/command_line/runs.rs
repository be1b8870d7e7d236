//! Runs on triplets, on labelled NLI and on scored pairs.

use crate::common::transformer::INFO_NCE;
use crate::common::world::pairs;
use crate::common::{TRIPLETS, World, assert_says, error_line, nli, triplets};

const LONG: [&str; 6] =
    ["--set", "train.steps=150", "--set", "train.evaluate_every=20", "--set", "train.checkpoint_every=14"];

/// Runs and gives the counts of examples. Batches of 16, of which none has one label throughout.
fn ends_well(world: &World) -> serde_json::Value {
    world.finish("out", &["--set", "train.batch_size=16"]);
    let summary = world.summary("out");
    assert_eq!((&summary["status"], &summary["real_data"]), (&"ok".into(), &true.into()));
    assert!(summary["metrics"]["lcqmc/test/spearman"].is_number(), "{summary}");
    assert!(world.run_files("out").contains_key("encoder/model.safetensors"));
    world.json("out", "data.json")["corpus"]["examples"].clone()
}

#[test]
fn triplets_with_and_without_hard_negatives() {
    let examples = ends_well(&World::triplets(&triplets()));
    assert_eq!((&examples["read"], &examples["kept"]), (&TRIPLETS.into(), &TRIPLETS.into()));
}

#[test]
fn no_triplet_has_a_hard_negative() {
    let content: String = triplets()
        .lines()
        .map(|line| {
            let two: Vec<&str> = line.split(',').take(2).collect();
            format!("{}\n", two.join(","))
        })
        .collect();
    ends_well(&World::triplets(&content));
}

/// The same triplets by another way: every premise has one entailment and one contradiction.
#[test]
fn labelled_nli_becomes_triplets() {
    let loss = format!("{INFO_NCE}hard_negative_weight = 1.0\n");
    let examples = ends_well(&World::labelled("triplets", "nli.jsonl", nli().as_bytes(), &loss));
    assert_eq!((&examples["read"], &examples["kept"]), (&TRIPLETS.into(), &TRIPLETS.into()));
}

/// 36 pairs in batches of 16 leave a rest of 4 in each epoch, which could have one label throughout.
#[test]
fn scored_pairs_with_cosent() {
    let examples = ends_well(&World::pairs(&pairs(1000, 36)));
    assert_eq!(examples["kept"], 36);
}

#[test]
fn scored_pairs_and_masked_tokens() {
    let world = World::pairs(&pairs(1000, 36));
    let arguments = ["--set", "train.batch_size=16", "--set", "masked_language={weight=0.1,rate=0.15}"];
    world.finish("out", &arguments);
    assert!(world.read("out/runs/bert-sup/small-s1/metrics.jsonl").contains("\"auxiliary_loss\""));
}

#[test]
fn stopped_and_killed_runs_go_on_to_the_same_bits() {
    let worlds = [
        ("INT", World::triplets(&triplets()), &["--set", "train.gradient_cache_rows=7"][..]),
        ("KILL", World::triplets(&triplets()), &["--set", "encoder.pooling=cls_tanh"]),
        ("KILL", World::pairs(&pairs(1000, 36)), &["--set", "train.batch_size=16"]),
    ];
    for (signal, world, more) in worlds {
        let arguments = [&LONG[..], more].concat();
        let output = world.stopped(world.command("out", &arguments), signal, 40);
        if signal == "INT" {
            assert_says(&error_line(&output), "stopped by Ctrl-C at step ", &[]);
        }
        world.finish("out", &arguments);
        world.finish("whole", &arguments);
        world.assert_same_results();
    }
}
