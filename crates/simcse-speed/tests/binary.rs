//! The built binary: one JSON object with what `benches/peers/run.py` and the table read.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails may panic, one left out says so"
)]

use std::process::{Command, Output};

use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simcse-speed")).args(arguments).output().unwrap()
}

fn measured(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn texts(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("texts.txt");
    let lines: Vec<String> = (0..40).map(|number| format!("花呗第{number}期怎么还款")).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

fn check(measured: &Value, batch_size: u64, operations: f64) {
    assert_eq!(measured["steps_ms"].as_array().unwrap().len(), 2, "two steps after the first");
    assert_eq!(measured["batch_size"], batch_size);
    let (rate, median) = (measured["sentences_per_second"].as_f64(), measured["median_step_ms"].as_f64());
    assert!((rate.unwrap() * median.unwrap() / 1e3 - batch_size as f64).abs() < 1e-6);
    let found = measured["product_operations"].as_f64().unwrap();
    assert!((found / operations - 1.0).abs() < 1e-9, "{found} operations, by hand {operations}");
    assert!(measured["last_loss"].as_f64().unwrap() > 0.0 && measured["mean_tokens"].as_f64().unwrap() > 8.0);
}

#[test]
fn steps_of_a_text_cnn_are_timed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["text-cnn", "--texts", &texts(&folder), "--embedding-size", "16", "--maps", "8"];
    let options = ["--batch-size", "8", "--steps", "2", "--warm-up", "1", "--max-tokens", "9"];
    let measured = measured(&[&arguments[..], &options[..]].concat());
    // 16 rows of 9 tokens, every width: 2 operations x tokens x width x embedding x maps.
    check(&measured, 8, 2.0 * (16 * 9) as f64 * (2 + 3 + 4 + 5) as f64 * 16.0 * 8.0);
}

#[test]
fn steps_of_a_transformer_are_timed_in_both_precisions() {
    let Some(models) = std::env::var_os("SIMCSE_MODEL_DIR") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "SIMCSE_MODEL_DIR must be set in CI");
        eprintln!("left out: needs SIMCSE_MODEL_DIR (see README, Tests)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let model = std::path::Path::new(&models).join("bert-tiny-zh").display().to_string();
    for precision in ["f32", "bf16"] {
        let arguments =
            ["transformer", "--texts", &texts(&folder), "--model", &model, "--precision", precision];
        let options = ["--batch-size", "8", "--steps", "2", "--warm-up", "1", "--equal-length", "9"];
        let measured = measured(&[&arguments[..], &options[..]].concat());
        // A layer of 12 H² weights for each of 16 x 9 tokens; the last one, 2 H² of keys and values for each token and
        // 10 H² for each of the 16 first tokens; the head, H² for each of them; H = 128. Forward and two backward
        // products, 2 operations each.
        let (weights, tokens, rows) = (128.0 * 128.0, (16 * 9) as f64, 16.0);
        check(&measured, 8, 6.0 * weights * (12.0 * tokens + 2.0 * tokens + 10.0 * rows + rows));
    }
}

#[test]
fn steps_of_a_margin_softmax_are_timed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["margin-softmax", "--texts", &texts(&folder), "--embedding-size", "16", "--maps", "8"];
    let options =
        ["--batch-size", "8", "--steps", "2", "--warm-up", "1", "--max-tokens", "9", "--classes", "1000"];
    for (share, sampled) in [("1", 1000.0), ("0.1", 100.0)] {
        let measured = measured(&[&arguments[..], &options[..], &["--sampled-share", share]].concat());
        let encoder = 2.0 * (16 * 9) as f64 * (2 + 3 + 4 + 5) as f64 * 16.0 * 8.0;
        // Forward, and backward the logits again and two gradients: four products with the table.
        check(&measured, 8, encoder + 4.0 * 2.0 * 16.0 * 32.0 * sampled);
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let output = run(&["text-cnn", "--texts", "no/such/file"]);
    assert!(!output.status.success() && output.stdout.is_empty());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("error: no/such/file: "), "{message}");
}
