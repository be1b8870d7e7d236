//! Results that cannot be written. A full disk is played by a limit on the size of files.

use std::process::Output;

use crate::common::{RUN, World, assert_says, error_line, stderr};

/// Without the trap, the system kills a process that goes over the limit before it can say anything.
fn limited(world: &World, blocks: u32, arguments: &[&str]) -> Output {
    let setup = format!("trap '' XFSZ; ulimit -f {blocks}");
    world.command_after(&setup, "out", arguments).output().unwrap()
}

/// No temporary file, and every record is whole.
fn assert_nothing_half_written(world: &World) {
    for (name, bytes) in world.files(&format!("out/{RUN}")) {
        let text = String::from_utf8(bytes).unwrap_or_else(|_| panic!("{name} is no text"));
        match name.as_str() {
            "config.toml" => assert!(text.contains("[evaluation]")),
            "metrics.jsonl" => {
                assert!(text.ends_with('\n'));
                text.lines().for_each(|line| drop(serde_json::from_str::<serde_json::Value>(line).unwrap()));
            }
            "env.json" | "data.json" | "summary.json" | "encoder/vocabulary.json" => {
                serde_json::from_str::<serde_json::Value>(&text).unwrap();
            }
            other => panic!("{other} was left behind"),
        }
    }
}

fn assert_failed(world: &World, reason: &str) {
    let summary = world.summary("out");
    assert_eq!(summary["status"], "failed");
    assert_eq!(summary["reason"], reason);
    assert_eq!(summary["metrics"], serde_json::json!({}));
}

#[test]
fn a_results_folder_below_a_file() {
    let world = World::new();
    world.write("file", b"not a folder");
    let line = error_line(&world.command("file/out", &[]).output().unwrap());
    assert_says(&line, "file/out/.locks/textcnn/dropout-only-s1.lock: ", &["Not a directory", "fix: "]);
    assert_eq!(world.read("file"), "not a folder");
}

#[test]
fn no_room_from_the_start() {
    let world = World::new();
    let line = error_line(&limited(&world, 0, &[]));
    assert_says(&line, &format!("out/{RUN}/config.toml: "), &["File too large", "fix: ", "free space"]);
    assert!(world.files("out").is_empty(), "{:?}", world.files("out").keys());
}

#[test]
fn no_room_for_a_checkpoint() {
    let world = World::new();
    let line = error_line(&limited(&world, 16, &["--set", "encoder.network.embedding_size=256"]));
    assert_says(&line, &format!("out/{RUN}/checkpoint.safetensors: cannot be written"), &["fix: make room"]);
    assert_nothing_half_written(&world);
    assert_failed(&world, &line);
}

#[test]
fn no_room_for_the_encoder() {
    let world = World::new();
    let arguments = ["--set", "encoder.network.embedding_size=256", "--set", "train.checkpoint_every=1000"];
    let line = error_line(&limited(&world, 16, &arguments));
    assert_says(&line, &format!("out/{RUN}/encoder/model.safetensors: "), &["File too large", "fix: "]);
    assert_nothing_half_written(&world);
    assert_failed(&world, &line);
    // With room again the same command makes a whole run of it.
    let output = world.command("out", &arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(world.summary("out")["status"], "ok");
}

/// The log is the only file that grows: `metrics.jsonl` reaches the limit in the midst of a run.
#[test]
fn no_room_for_the_log() {
    let world = World::new();
    let arguments = [
        "--set",
        "train.evaluate_every=1",
        "--set",
        "train.steps=400",
        "--set",
        "train.checkpoint_every=1000",
    ];
    let line = error_line(&limited(&world, 16, &arguments));
    assert_says(&line, &format!("out/{RUN}/metrics.jsonl: "), &["File too large", "fix: "]);
    assert_nothing_half_written(&world);
    assert_failed(&world, &line);
}
