//! `simcse compare` of two runs scores their recorded encoders on the same pairs again.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

#[path = "../../simcse-bench/tests/support/world.rs"]
mod world;

use std::process::{Command, Output};

use world::{World, error_line, small_text_cnn, stderr};

const CONFIG: &str = include_str!("../../../experiments/textcnn/configs/dropout-only.toml");
const FIRST: &str = "textcnn/dropout-only-s1";
const SECOND: &str = "textcnn/dropout-only-s2";

fn simcse(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simcse"));
    world.prepare(&mut command);
    command.args(arguments).args(["--data-dir", "data"]).output().unwrap()
}

fn recorded() -> World {
    let world =
        World::with(env!("CARGO_BIN_EXE_simcse"), "runs/textcnn/dropout-only-s1", &small_text_cnn(CONFIG));
    let output = simcse(&world, &["sweep", "small.toml", "--seed", "1", "--seed", "2", "--out", "results"]);
    assert!(output.status.success(), "{}", stderr(&output));
    world
}

#[test]
fn two_runs_are_compared_over_their_pairs() {
    let world = recorded();
    let compared = |first: &str, second: &str| {
        let output = simcse(&world, &["compare", first, second, "--resamples", "200"]);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = compared(FIRST, SECOND);
    let (head, line) = text.split_once('\n').unwrap();
    assert_eq!(head, format!("{FIRST} - {SECOND}, x 100, 200 draws of pairs"));
    let score = |seed: u32| {
        let path = format!("results/runs/textcnn/dropout-only-s{seed}/summary.json");
        let summary: serde_json::Value = serde_json::from_str(&world.read(&path)).unwrap();
        100.0 * summary["metrics"]["lcqmc/test/spearman"].as_f64().unwrap()
    };
    let (first, second) = (score(1), score(2));
    let start = format!(
        "lcqmc/test/spearman: {first:.1} against {second:.1}: {:+.1} [",
        100.0 * ((first - second) / 100.0)
    );
    assert!(line.starts_with(&start) && line.contains(" 30 pairs: "), "{line:?} against {start:?}");
    assert_eq!(text, compared(FIRST, SECOND), "the draws repeat themselves");
    let itself = compared(FIRST, FIRST);
    assert!(
        itself.contains(": +0.0 [+0.0, +0.0], p = 1.0e0, 30 pairs: no difference can be claimed"),
        "{itself}"
    );
}

#[test]
fn a_comparison_that_would_prove_nothing_is_refused() {
    let world = recorded();
    let refused = |second: &str, arguments: &[&str]| {
        error_line(&simcse(&world, &[&["compare", FIRST, second], arguments].concat()))
    };
    let line = refused("textcnn/dropout-only", &[]);
    assert!(
        line.contains("textcnn/dropout-only-s1 is one run and textcnn/dropout-only is none; fix: "),
        "{line}"
    );
    let line = refused(SECOND, &["--metric", "test/auc"]);
    assert!(line.contains("--metric test/auc: two runs are compared by Spearman; fix: "), "{line}");
    let line = refused(SECOND, &["--metric", "bq/test/spearman"]);
    assert!(line.contains("no set whose name ends with \"bq/test\" was scored by both; fix: "), "{line}");

    world.write("data/LCQMC/test.txt", &world::pairs(700, 30));
    let line = refused(SECOND, &[]);
    assert!(line.contains("-s1: lcqmc/test: not the file that the run was scored on; fix: "), "{line}");

    let encoder = |seed: u32| world.path(&format!("results/runs/textcnn/dropout-only-s{seed}/encoder"));
    world.write("data/LCQMC/test.txt", &world::pairs(500, 30));
    std::fs::remove_dir_all(encoder(2)).unwrap();
    let line = refused(SECOND, &[]);
    assert!(line.contains("dropout-only-s2: its encoder is not on this machine; fix: "), "{line}");
    std::fs::create_dir(encoder(2)).unwrap();
    for file in std::fs::read_dir(encoder(1)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), encoder(2).join(file.file_name())).unwrap();
    }
    let line = refused(SECOND, &[]);
    assert!(line.contains("-s2: lcqmc/test: the encoder gives ") && line.contains("; fix: "), "{line}");
}
