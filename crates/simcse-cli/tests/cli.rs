//! The command as users meet it: exit codes, one line on errors, nothing half-written.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

use simcse_data::{SentenceTokenizer as _, TokenUnit, Vocabulary, VocabularyConfig};
use simcse_model::{SavedEncoder, TextCnn, TextCnnConfig};
use simcse_random::Stream;

/// Runs `simcse` with these arguments in `folder`, without data folders from outside.
fn simcse(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simcse"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("SIMCSE_DATA_DIR")
        .env_remove("SIMCSE_MODEL_DIR")
        .output()
        .unwrap()
}

/// Asserts exit code 1 and a single line on standard error, and returns it.
fn error_line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn report_writes_then_is_fresh_then_finds_what_was_edited() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("results")).unwrap();
    let tables = "[[table]]\nname = \"a\"\ntitle = \"A\"\nexperiment = \"x\"\ncolumns = [{ label = \"B\", task = \"b\" }]\n";
    std::fs::write(root.path().join("results/tables.toml"), tables).unwrap();
    assert!(error_line(&simcse(root.path(), &["report", "--check"])).contains("9 stale file(s)"));
    assert!(!root.path().join("results/tables").exists(), "--check writes nothing");
    assert!(simcse(root.path(), &["report"]).status.success());
    assert!(simcse(root.path(), &["report", "--check"]).status.success());
    std::fs::write(root.path().join("results/tables/a.dev.csv"), "edited").unwrap();
    let output = simcse(root.path(), &["report", "--check"]);
    assert!(error_line(&output).contains("1 stale file(s)"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "stale: results/tables/a.dev.csv\n");
}

#[test]
fn report_outside_of_a_repository_says_so() {
    let folder = tempfile::tempdir().unwrap();
    assert!(error_line(&simcse(folder.path(), &["report"])).contains("no results/tables.toml; fix: "));
}

#[test]
fn evaluate_scores_the_bundled_sample() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["evaluate", "--baseline", "character-jaccard", "--tasks", "sample", "--splits", "test"];
    let output = simcse(folder.path(), &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("sample/test/spearman"), "{text}");
    assert!(!text.contains("uniformity"), "Jaccard has no embeddings: {text}");
}

#[test]
fn bad_arguments_are_one_line_and_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text.txt"), "一句话\n").unwrap();
    for (arguments, expected) in [
        (vec!["evaluate", "no/encoder"], "no/encoder: no such folder; fix: "),
        (vec!["evaluate", "--baseline", "mean-character-vectors"], "fix: give --vectors FILE"),
        (vec!["evaluate", "--baseline", "character-jaccard", "--tasks", "nonsense"], "nonsense"),
        (
            vec!["evaluate", "--baseline", "character-jaccard", "--data-dir", "nowhere"],
            "data folder nowhere not found",
        ),
        (vec!["encode", "no/encoder", "text.txt", "--out", "out.npy"], "no/encoder: no such folder"),
        (vec!["encode", ".", "text.txt", "--out", "out.bin"], "out.bin: unknown format; fix: "),
        (vec!["encode", ".", "text.txt", "--out", "out.npy"], "config.json"),
        (vec!["baselines", "--data-dir", "nowhere"], "nowhere"),
    ] {
        let line = error_line(&simcse(folder.path(), &arguments));
        assert!(line.contains(expected), "{arguments:?}: {line}");
        assert!(line.contains("fix: "), "{arguments:?} names no mend: {line}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
}

/// A data file that breaks in the middle.
#[test]
fn a_label_that_is_no_number_names_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.tsv"), "一\t二\t1\n三\t四\tyes\n").unwrap();
    let line = error_line(&simcse(
        folder.path(),
        &["evaluate", "--baseline", "character-jaccard", "--tasks", "own.tsv", "--splits", "test"],
    ));
    assert!(line.contains("own.tsv:2: ") && line.contains("fix: "), "{line}");
}

/// Saves an untrained encoder of 2 maps in `folder/encoder`.
fn save_encoder(folder: &Path) -> SavedEncoder {
    let config = VocabularyConfig {
        unit: TokenUnit::Characters,
        lower_case: true,
        nfkc: true,
        min_count: 1,
        max_size: None,
    };
    let vocabulary = Vocabulary::build(["花呗怎么还款"], config).unwrap();
    let network = TextCnnConfig {
        embedding_size: 4,
        widths: vec![1, 2],
        maps: 2,
        embedding_dropout: 0.1,
        output_dropout: 0.1,
        projection_size: None,
    };
    let encoder = TextCnn::new(network, vocabulary.vocabulary_size(), Stream::from_seed(1)).unwrap();
    let saved = SavedEncoder::new(encoder, vocabulary, 64);
    saved.save(&folder.join("encoder")).unwrap();
    saved
}

#[test]
fn encode_writes_what_the_encoder_gives_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let encoder = save_encoder(folder.path());
    std::fs::write(folder.path().join("text.txt"), "花呗\n还款怎么还\n花呗\n").unwrap();
    for out in ["out.npy", "out.tsv"] {
        let output = simcse(folder.path(), &["encode", "encoder", "text.txt", "--out", out]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let expected = encoder.embed(&["花呗", "还款怎么还", "花呗"]).unwrap().embeddings;
    let npy = std::fs::read(folder.path().join("out.npy")).unwrap();
    let values: Vec<f32> =
        npy[128..].chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(values.len(), expected.len());
    assert!(
        values.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6),
        "{values:?} against {expected:?}"
    );
    let tsv = std::fs::read_to_string(folder.path().join("out.tsv")).unwrap();
    let read: Vec<f32> = tsv.split_whitespace().map(|field| field.parse().unwrap()).collect();
    assert_eq!((tsv.lines().count(), read), (3, values));
}

#[test]
fn evaluate_scores_an_encoder() {
    let folder = tempfile::tempdir().unwrap();
    save_encoder(folder.path());
    let output = simcse(
        folder.path(),
        &["evaluate", "encoder", "--tasks", "sample", "--splits", "dev,test", "--json"],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let scores: serde_json::Value = serde_json::from_str(&text).unwrap();
    for name in ["sample/dev/spearman", "sample/test/uniformity", "sample/all/spearman_weighted"] {
        assert!(scores[name].is_f64(), "{name} is absent: {text}");
    }
}

#[test]
fn a_folder_that_is_not_writable_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    save_encoder(folder.path());
    std::fs::write(folder.path().join("text.txt"), "花呗\n").unwrap();
    // Nothing can be made below a regular file, whatever the rights of the user.
    let line =
        error_line(&simcse(folder.path(), &["encode", "encoder", "text.txt", "--out", "text.txt/out.npy"]));
    assert!(line.contains("text.txt/out.npy") && line.contains("fix: "), "{line}");
    assert_eq!(std::fs::read_to_string(folder.path().join("text.txt")).unwrap(), "花呗\n");
}
