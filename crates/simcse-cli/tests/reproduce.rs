//! `simcse reproduce` runs what a table needs, and nothing twice.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

#[path = "../../simcse-bench/tests/support/world.rs"]
mod world;

use std::process::{Command, Output};

use world::{World, error_line, small_text_cnn, stderr};

const CONFIG: &str = include_str!("../../../experiments/textcnn/configs/dropout-only.toml");
const SWEEP: &str = r#"
base = "small.toml"
seeds = [1]
[[grid]]
name = "temperature-{loss.temperature}"
label = "temperature {loss.temperature}"
group = "temperature"
values = { "loss.temperature" = [0.05, 0.1] }
[[variant]]
name = "other"
label = "of no table"
group = "other"
"#;
const TABLES: &str = r#"
[[table]]
name = "temperature"
title = "Temperature"
experiment = "textcnn"
groups = ["temperature"]
sweeps = ["sweep.toml"]
columns = [{ label = "LCQMC", task = "lcqmc" }]
"#;

fn reproduce(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simcse"));
    world.prepare(&mut command);
    command.arg("reproduce").args(arguments).args(["--data-dir", "data"]).output().unwrap()
}

#[test]
fn what_a_table_needs_is_run_once() {
    let world = World::with(env!("CARGO_BIN_EXE_simcse"), "", &small_text_cnn(CONFIG));
    world.write("sweep.toml", SWEEP.as_bytes());
    world.write("results/tables.toml", TABLES.as_bytes());
    let line = error_line(&reproduce(&world, &["none"]));
    assert!(line.contains("no table \"none\"; fix: give one of temperature"), "{line}");
    let listed = || {
        let output = reproduce(&world, &["temperature", "--list"]);
        (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
    };
    let runs = "textcnn/temperature-0.05-s1\ntextcnn/temperature-0.1-s1\n";
    assert_eq!(listed(), (runs.to_owned(), "2 runs are missing\n".to_owned()));
    assert!(world.files("results").len() == 1, "to list is not to run");
    let output = reproduce(&world, &["temperature"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(listed(), (String::new(), "0 runs are missing\n".to_owned()));
    let files = world.files("results");
    let runs: Vec<&str> = files.keys().filter_map(|name| name.strip_suffix("/summary.json")).collect();
    assert_eq!(runs, ["runs/textcnn/temperature-0.05-s1", "runs/textcnn/temperature-0.1-s1"]);
    let encoder = |seed: u32| format!("runs/textcnn/temperature-0.1-s{seed}/encoder/model.safetensors");
    assert!(files.contains_key(&encoder(1)), "{:?}", files.keys());
    let output = reproduce(&world, &["temperature", "--seed", "2", "--no-encoders", "--out", "other"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let others = world.files("other");
    assert!(
        others.contains_key("runs/textcnn/temperature-0.1-s2/summary.json")
            && !others.contains_key(&encoder(2))
    );
    let again = reproduce(&world, &["temperature"]);
    assert!(again.status.success() && stderr(&again).is_empty(), "{}", stderr(&again));
    assert!(world.files("results") == files, "nothing is run twice");
}
