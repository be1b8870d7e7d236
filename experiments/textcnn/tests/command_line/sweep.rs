//! Sweeps: a variant that does not learn is recorded and the others run; processes share the work.

use std::process::{Command, Output, Stdio};

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

/// Four runs, two processes at once, and a third that comes when all is done.
#[test]
fn processes_share_a_sweep() {
    let world = World::new();
    let sweep = "base = \"small.toml\"\nseeds = [1, 2, 3, 4]\n[[variant]]\nname = \"v\"\nlabel = \"v\"\ngroup = \"v\"\n";
    world.write("sweep.toml", sweep.as_bytes());
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exp-textcnn"));
        world.prepare(&mut command);
        command.args(["sweep.toml", "--data-dir", "data", "--out", "out"]);
        command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let outputs = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let trained = |output: &Output| {
        assert!(output.status.success(), "{}", stderr(output));
        let text = stderr(output);
        text.lines().filter(|line| line.starts_with('[')).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut lines: Vec<String> = outputs.iter().flat_map(trained).collect();
    lines.sort();
    let runs: Vec<&str> = lines.iter().filter_map(|line| line.split(" · ").next()).collect();
    assert_eq!(runs, ["[1/4] v seed 1", "[2/4] v seed 2", "[3/4] v seed 3", "[4/4] v seed 4"]);
    let last = start().wait_with_output().unwrap();
    assert_eq!(trained(&last), [""; 0], "nothing is left to do");
    let table = String::from_utf8(last.stdout).unwrap();
    let row = table.lines().find(|line| line.starts_with("v ")).unwrap();
    assert_eq!(row.split_whitespace().nth(1), Some("4"), "its table has all of them: {table}");
    assert!(!world.files("out").keys().any(|name| name.contains(".lock")), "a lock was left");
}

#[test]
fn shards_are_different_runs_and_a_script_runs_nothing() {
    let world = World::new();
    let arguments = ["--seed", "1", "--seed", "2", "--seed", "3", "--shard", "2/2"];
    let output = world.command("out", &arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let files = world.files("out");
    let ended: Vec<&String> = files.keys().filter(|name| name.ends_with("summary.json")).collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert!(ended[0].ends_with("-s2/summary.json"), "{ended:?}");
    let script = world.command("elsewhere", &["--slurm", "3"]).output().unwrap();
    let text = String::from_utf8(script.stdout).unwrap();
    assert!(text.contains("--array=1-3\n") && text.contains("--out elsewhere"), "{text}");
    assert!(!text.contains("--slurm"), "{text}");
    assert!(world.files("elsewhere").is_empty());
}
