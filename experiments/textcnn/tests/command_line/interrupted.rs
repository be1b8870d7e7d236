//! Runs that are stopped and go on, and checkpoints with which they cannot.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{RUN, World, assert_says, error_line, stderr};

/// Long enough to be stopped half-way, with dropout and augmentation so that every stream is used.
const LONG: [&str; 12] = [
    "--set",
    "train.steps=900",
    "--set",
    "train.evaluate_every=100",
    "--set",
    "train.checkpoint_every=70",
    "--set",
    "augmentation.deletion=0.1",
    "--set",
    "augmentation.repetition=0.1",
    "--set",
    "train.warmup_steps=20",
];

/// Starts the long run, waits until its log has reached `step`, and sends `signal`.
fn stopped(world: &World, signal: &str, step: u64) -> std::process::Output {
    let mut child: Child =
        world.command("out", &LONG).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let log = world.path(&format!("out/{RUN}/metrics.jsonl"));
    let reached = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().any(|line| line.starts_with(&format!("{{\"step\":{step},")))
    };
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the run does not get to step {step}");
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

fn finish(world: &World, out: &str) {
    let output = world.command(out, &LONG).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Everything that a run leaves, but for times and the machine.
fn assert_same_results(world: &World) {
    let (stopped, whole) = (world.files(&format!("out/{RUN}")), world.files(&format!("whole/{RUN}")));
    assert_eq!(stopped.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    for (name, bytes) in &whole {
        if !matches!(name.as_str(), "env.json" | "summary.json") {
            assert!(&stopped[name] == bytes, "{name} differs");
        }
    }
    let without_times = |out: &str| {
        let mut summary = world.summary(out);
        for key in ["wall_s", "sentences_per_s"] {
            assert!(summary.as_object_mut().unwrap().remove(key).unwrap().as_f64().unwrap() > 0.0);
        }
        summary
    };
    assert_eq!(without_times("out"), without_times("whole"));
    assert_eq!(without_times("out")["status"], "ok");
}

#[test]
fn ctrl_c_writes_a_checkpoint_and_the_same_command_goes_on_to_the_same_bits() {
    let world = World::new();
    let line = error_line(&stopped(&world, "INT", 200));
    assert_says(&line, "stopped by Ctrl-C at step ", &["the same command continues from there"]);
    let summary = world.summary("out");
    assert_eq!(summary["status"], "stopped");
    let step = summary["steps"].as_u64().unwrap();
    assert!((200..900).contains(&step), "{step}");
    assert!(world.path(&format!("out/{RUN}/checkpoint.safetensors")).exists());
    finish(&world, "out");
    finish(&world, "whole");
    assert_same_results(&world);
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint_to_the_same_bits() {
    let world = World::new();
    let output = stopped(&world, "KILL", 300);
    assert!(!output.status.success());
    assert!(!world.path(&format!("out/{RUN}/summary.json")).exists());
    finish(&world, "out");
    finish(&world, "whole");
    assert_same_results(&world);
}

#[test]
fn a_checkpoint_cut_short_or_of_another_configuration_is_refused() {
    let world = World::new();
    stopped(&world, "INT", 100);
    let name = format!("out/{RUN}/checkpoint.safetensors");
    let before = world.files("out");
    let other = world.command("out", &LONG).args(["--set", "train.learning_rate=2e-3"]).output().unwrap();
    let parts = ["written by another configuration, seed or data", "fix: delete it, or give another --out"];
    assert_says(&error_line(&other), &format!("{name}: "), &parts);
    assert!(world.files("out") == before, "a refused checkpoint changed the run");

    let bytes = std::fs::read(world.path(&name)).unwrap();
    world.write(&name, &bytes[..bytes.len() / 2]);
    let before = world.files("out");
    let line = error_line(&world.command("out", &LONG).output().unwrap());
    assert_says(&line, &format!("{name}: is broken or cut short"), &["fix: delete it to begin the run anew"]);
    assert!(world.files("out") == before, "a broken checkpoint changed the run");

    // The mend that the message names.
    std::fs::remove_file(world.path(&name)).unwrap();
    finish(&world, "out");
    assert_eq!(world.summary("out")["status"], "ok");
}

#[test]
fn a_finished_run_is_left_alone() {
    let world = World::new();
    assert!(world.command("out", &[]).output().unwrap().status.success());
    let before = world.files("out");
    let again = world.command("out", &[]).output().unwrap();
    assert!(again.status.success() && !again.stdout.is_empty());
    assert!(world.files("out") == before, "a finished run was touched");
}
