//! A sweep in which one variant does not learn: it is recorded, and the others run.

use std::process::{Command, Output};

use crate::common::{World, assert_says, error_line, stderr};

const SWEEP: &str = r#"
base = "small.toml"
seeds = [1, 2]
[[variant]]
name = "no-dropout"
label = "no dropout"
group = "dropout"
seeds = [1]
set = { "encoder.network.embedding_dropout" = 0.0, "encoder.network.output_dropout" = 0.0 }
[[variant]]
name = "dropout"
label = "dropout"
group = "dropout"
"#;

fn run(world: &World) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exp-textcnn"));
    world.prepare(&mut command);
    command.args(["sweep.toml", "--data-dir", "data", "--out", "out"]).output().unwrap()
}

#[test]
fn a_run_that_fails_is_recorded_and_the_others_go_on() {
    let world = World::new();
    world.write("sweep.toml", SWEEP.as_bytes());
    let output = run(&world);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let failed: Vec<&str> = text.lines().filter(|line| line.starts_with("failed: ")).collect();
    assert_eq!(failed.len(), 1, "{text}");
    assert!(failed[0].contains("step 3: ") && failed[0].contains("dropout does not act"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("error: 1 of 3 runs failed; fix: "), "{text}");
    let status = |name: &str| -> String {
        let summary = world.read(&format!("out/runs/textcnn/{name}/summary.json"));
        serde_json::from_str::<serde_json::Value>(&summary).unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!([status("no-dropout-s1"), status("dropout-s1"), status("dropout-s2")], ["failed", "ok", "ok"]);

    // Once more: what is finished is left alone, what failed is tried again.
    let finished = world.files("out/runs/textcnn/dropout-s1");
    assert_eq!(run(&world).status.code(), Some(1));
    assert!(world.files("out/runs/textcnn/dropout-s1") == finished, "a finished run was touched");
}

#[test]
fn a_single_run_that_does_not_learn_gives_one_line() {
    let world = World::new();
    world.set("embedding_dropout", "0.0");
    world.set("output_dropout", "0.0");
    let line = error_line(&world.command("out", &[]).output().unwrap());
    assert!(line.starts_with("step 3: every positive is at cosine 1"), "{line}");
    assert!(line.contains("health.identical_views_allowed = true"), "{line}");
    let summary = world.summary("out");
    assert_eq!((&summary["status"], &summary["reason"]), (&"failed".into(), &line.into()));
}

#[test]
fn a_finished_run_is_not_lost_to_another_configuration() {
    let world = World::new();
    assert!(world.command("out", &[]).output().unwrap().status.success());
    let other = ["--set", "train.learning_rate=0.002"];
    let line = error_line(&world.command("out", &other).output().unwrap());
    assert_says(&line, "", &["holds a finished run with another configuration", "fix: give --again"]);
    let again = ["--set", "train.learning_rate=0.002", "--again"];
    assert!(world.command("out", &again).output().unwrap().status.success());
}
