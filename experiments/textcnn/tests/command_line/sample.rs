//! With no data at all the bundled sample shows that everything works, and says what it is.

use std::process::Command;

use crate::common::{World, stderr};

const HEADLINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/dropout-only.toml");

#[test]
fn the_committed_configuration_runs_on_the_bundled_sample() {
    let world = World::new();
    std::fs::remove_dir_all(world.path("data")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_exp-textcnn"));
    world.prepare(&mut command);
    command.arg(HEADLINE).args(["--out", "out"]);
    for set in ["train.steps=6", "train.batch_size=32", "train.evaluate_every=3", "encoder.network.maps=8"] {
        command.args(["--set", set]);
    }
    let output = command.output().unwrap();
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    let said: Vec<&str> = text.lines().filter(|line| line.contains("bundled sample")).collect();
    assert_eq!(said.len(), 1, "{text}");
    assert!(said[0].contains("--data-dir or SIMCSE_DATA_DIR"), "{text}");
    let table = String::from_utf8(output.stdout).unwrap();
    let row = table.lines().find(|line| line.starts_with("dropout .1 ")).unwrap_or_else(|| panic!("{table}"));
    assert!(row.contains("bundled sample"), "a table must not pass the sample off as real data: {table}");

    let summary = world.summary("out");
    assert_eq!((&summary["status"], &summary["real_data"]), (&"ok".into(), &false.into()));
    let metrics = summary["metrics"].as_object().unwrap();
    assert!(metrics["sample/test/spearman"].is_number() && metrics["sample/dev/spearman"].is_number());
    let is_of_the_sample = |name: &String| name.starts_with("sample/") || name == "evaluation_truncated";
    assert!(metrics.keys().all(is_of_the_sample), "{metrics:?}");
}
