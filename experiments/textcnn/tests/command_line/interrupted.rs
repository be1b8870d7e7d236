//! Runs that are stopped and go on, and checkpoints with which they cannot.

use crate::common::{RUN, World, assert_says, error_line};

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

/// Stops the long run when its log has reached `step`.
fn stopped(world: &World, signal: &str, step: u64) -> std::process::Output {
    world.stopped(world.command("out", &LONG), signal, step)
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
    world.finish("out", &LONG);
    world.finish("whole", &LONG);
    world.assert_same_results();
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint_to_the_same_bits() {
    let world = World::new();
    let output = stopped(&world, "KILL", 300);
    assert!(!output.status.success());
    assert!(!world.path(&format!("out/{RUN}/summary.json")).exists());
    world.finish("out", &LONG);
    world.finish("whole", &LONG);
    world.assert_same_results();
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
    world.finish("out", &LONG);
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
