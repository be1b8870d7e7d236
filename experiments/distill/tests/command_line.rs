//! A run teaches another one.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

#[path = "../../../crates/simcse-bench/tests/support/world.rs"]
mod world;

use world::{World, replace_value, small_text_cnn};

/// The committed configuration, in small, with the run that [`TEACHER`] leaves as its teacher.
const STUDENT: &str = include_str!("../configs/headline.toml");
const TEACHER: &str = include_str!("../../textcnn/configs/dropout-only.toml");
const TEACHERS_RUN: &str = "textcnn/dropout-only-s1";

fn student() -> String {
    let (before, rest) = STUDENT.split_once("[teacher.checkpoint]").unwrap();
    let (_, after) = rest.split_once("[train]").unwrap();
    let config = format!("{before}[teacher]\nencoder = \"{TEACHERS_RUN}\"\n\n[train]{after}");
    let config =
        small_text_cnn(&config).replace("projection_size = 384\n", "").replace("limit = 200000\n", "");
    replace_value(&replace_value(&config, "projection", "true"), "warmup_steps", "0")
}

fn world() -> World {
    World::with(env!("CARGO_BIN_EXE_exp-distill"), "runs/distill/cnn-e5-12-s1", &student())
}

#[test]
fn a_run_is_the_teacher_of_another_and_its_words_are_kept() {
    let world = world();
    let missing = world.error(&[]);
    assert!(missing.contains(&format!("teacher.encoder = \"{TEACHERS_RUN}\"")), "{missing}");
    assert!(missing.contains("fix: train it first"), "{missing}");
    world.write("teacher.toml", small_text_cnn(TEACHER).as_bytes());
    let mut command = world.command("out", &[]);
    let output = command.arg("teacher.toml").output().unwrap();
    // The teacher comes after its student here: the first run fails, the second trains the teacher.
    assert!(!output.status.success());
    world.finish("out", &["--cache-dir", "kept"]);
    let data = world.json("out", "data.json");
    assert_eq!(data["teacher"]["origin"], TEACHERS_RUN);
    assert!(data["teacher"]["files"].as_array().unwrap().len() > 2, "{data}");
    let kept = world.files("kept");
    assert!(kept.keys().any(|name| name.ends_with(".safetensors")), "{:?}", kept.keys());
    world.finish("out", &["--cache-dir", "kept", "--again"]);
    assert_eq!(world.files("kept"), kept, "nothing is computed twice");
    assert_eq!(world.summary("out")["status"], "ok");
}
