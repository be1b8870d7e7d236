//! `simcse sweep` records a run, `simcse verify` makes its figures again, and figures that were changed are found.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

#[path = "../../simcse-bench/tests/support/world.rs"]
mod world;

use std::process::{Command, Output};

use world::{World, error_line, small_text_cnn, stderr};

const CONFIG: &str = include_str!("../../../experiments/textcnn/configs/dropout-only.toml");
const RUN: &str = "textcnn/dropout-only-s1";
const SUMMARY: &str = "results/runs/textcnn/dropout-only-s1/summary.json";

fn simcse(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simcse"));
    world.prepare(&mut command);
    command.args(arguments).args(["--data-dir", "data"]).output().unwrap()
}

fn recorded() -> World {
    let world =
        World::with(env!("CARGO_BIN_EXE_simcse"), "runs/textcnn/dropout-only-s1", &small_text_cnn(CONFIG));
    let output = simcse(&world, &["sweep", "small.toml", "--out", "results"]);
    assert!(output.status.success(), "{}", stderr(&output));
    world
}

fn verified(world: &World, arguments: &[&str]) -> String {
    let output = simcse(world, &[&["verify", RUN], arguments].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn figures_come_out_again_to_the_last_bit() {
    let world = recorded();
    let before = world.files("results");
    let scored = verified(&world, &["--tolerance", "0"]);
    assert!(scored.contains("scored again: ") && scored.contains("the same to the last bit\n"), "{scored}");
    let trained = verified(&world, &["--tolerance", "0", "--train"]);
    assert!(trained.contains("trained again: "), "{trained}");
    assert!(world.files("results") == before, "it changes nothing");
}

#[test]
fn a_changed_figure_is_found_with_and_without_a_new_seal() {
    let world = recorded();
    let text = world.read(SUMMARY);
    let metric = "\"lcqmc/test/spearman\": ";
    let (before, rest) = text.split_once(metric).unwrap();
    let (_, after) = rest.split_once(',').unwrap();
    world.write(SUMMARY, format!("{before}{metric}0.99,{after}").as_bytes());
    let line = error_line(&simcse(&world, &["verify", RUN]));
    assert!(
        line.contains("summary.json: fix: ") && line.contains("was changed after the run wrote it"),
        "{line}"
    );

    // Somebody who reckons the hash anew as well.
    let changed = world.read(SUMMARY);
    let (entries, _) = changed.rsplit_once(",\n  \"sha256\"").unwrap();
    let log = world.read("results/runs/textcnn/dropout-only-s1/metrics.jsonl");
    let hash = simcse_data::sha256_hex(format!("{entries}\n{log}").as_bytes());
    world.write(SUMMARY, format!("{entries},\n  \"sha256\": \"{hash}\"\n}}\n").as_bytes());
    for arguments in [&["verify", RUN][..], &["verify", RUN, "--train"]] {
        let output = simcse(&world, arguments);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(text.contains("1 DIFFER\n  lcqmc/test/spearman: recorded 0.99, now "), "{text}");
        assert!(stderr(&output).contains("error: 1 of 1 run(s) have figures that do not come out again"));
    }
}

#[test]
fn other_data_and_runs_that_are_not_there_prove_nothing() {
    let world = recorded();
    let line = error_line(&simcse(&world, &["verify", "textcnn/none-s1"]));
    assert!(line.contains("textcnn/none-s1: no finished run; fix: "), "{line}");
    world.write("data/LCQMC/test.txt", &world::pairs(700, 30));
    let line = error_line(&simcse(&world, &["verify", RUN]));
    assert!(line.contains("lcqmc/test: not the file that the run was scored on; fix: "), "{line}");
}
