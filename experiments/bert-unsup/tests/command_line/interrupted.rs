//! Runs that are stopped and go on to the same bits.

use crate::common::{EVERYTHING, World, assert_says, error_line};

/// Long enough to be stopped half-way.
const LONG: [&str; 6] =
    ["--set", "train.steps=150", "--set", "train.evaluate_every=20", "--set", "train.checkpoint_every=14"];

fn stop_and_go_on(signal: &str, more: &[&str]) -> World {
    let world = World::new();
    let arguments = [&LONG[..], more].concat();
    let output = world.stopped(world.command("out", &arguments), signal, 40);
    assert!(!output.status.success());
    if signal == "INT" {
        assert_says(&error_line(&output), "stopped by Ctrl-C at step ", &["the same command continues"]);
        assert_eq!(world.summary("out")["status"], "stopped");
    }
    world.finish("out", &arguments);
    world.finish("whole", &arguments);
    world.assert_same_results();
    world
}

#[test]
fn ctrl_c_and_on_to_the_same_bits() {
    stop_and_go_on("INT", &[]);
}

#[test]
fn killed_and_on_to_the_same_bits() {
    stop_and_go_on("KILL", &[]);
}

#[test]
fn killed_and_on_to_the_same_bits_with_everything_that_has_a_state() {
    let world = stop_and_go_on("KILL", &EVERYTHING);
    let log = world.read(&format!("out/{}/metrics.jsonl", crate::common::RUN));
    assert!(log.contains("\"auxiliary_loss\""), "masked language modelling was not on");
}

#[test]
fn stopped_and_on_to_the_same_bits_with_everything_that_has_a_state() {
    stop_and_go_on("INT", &EVERYTHING);
}
