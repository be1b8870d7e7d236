//! Tests of the run directory.

use super::*;
use serde_json::json;

const CONFIG: &str = "seed = 1\ndropout = 0.1\n";

fn identity() -> RunIdentity {
    RunIdentity {
        experiment: "textcnn".into(),
        config: "dropout-0.1".into(),
        label: "dropout 0.1".into(),
        group: "dropout".into(),
        seed: 1,
        precision: "f32".into(),
        transductive: false,
        real_data: true,
        data_sha256: "d".into(),
        evaluation_sha256: BTreeMap::from([("lcqmc/test".into(), "e".into())]),
    }
}

fn step(value: f64) -> Map<String, Value> {
    json!({ "loss": value }).as_object().cloned().unwrap()
}

fn outcome(value: f64) -> Outcome {
    Outcome::ok(BTreeMap::from([("lcqmc/test/spearman".into(), value)]), 2, 3, 10.0)
}

#[test]
fn a_run_is_written_as_it_goes() {
    let results = tempfile::tempdir().unwrap();
    let mut run = RunDirectory::create(results.path(), identity(), CONFIG, &json!({"files": []})).unwrap();
    let path = results.path().join("runs/textcnn/dropout-0.1-s1");
    assert_eq!(run.path(), path);
    for file in ["config.toml", "env.json", "data.json"] {
        assert!(path.join(file).is_file(), "{file} stands at the start");
    }
    run.log(1, &step(2.5)).unwrap();
    let log = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    assert_eq!(log, "{\"step\":1,\"loss\":2.5}\n", "a line stands as soon as it is logged");
    assert_eq!(finished_run(results.path(), "textcnn", "dropout-0.1", 1).unwrap(), None);
    let summary = run.finish(outcome(0.5)).unwrap();
    assert_eq!(Summary::read(&path.join("summary.json")).unwrap(), summary);
    assert_eq!(finished_run(results.path(), "textcnn", "dropout-0.1", 1).unwrap(), Some(summary));
}

#[test]
fn what_a_killed_run_did_not_finish_is_removed() {
    let results = tempfile::tempdir().unwrap();
    let begin = || RunDirectory::create(results.path(), identity(), CONFIG, &json!({})).unwrap();
    let leave = |path: &Path| {
        std::fs::create_dir_all(path.join("encoder")).unwrap();
        std::fs::write(path.join(".tmpAbCdEf"), "half a checkpoint").unwrap();
        std::fs::write(path.join("encoder/.tmpGhIjKl"), "half an encoder").unwrap();
        std::fs::write(path.join("checkpoint.safetensors"), "whole").unwrap();
    };
    let is_clean = |path: &Path| {
        assert!(path.join("checkpoint.safetensors").exists());
        !path.join(".tmpAbCdEf").exists() && !path.join("encoder/.tmpGhIjKl").exists()
    };
    let path = begin().path().to_owned();
    leave(&path);
    RunDirectory::resume(results.path(), identity(), CONFIG, &json!({}), 0).unwrap();
    assert!(is_clean(&path));
    leave(&path);
    begin();
    assert!(is_clean(&path));
}

#[test]
fn a_run_goes_on_where_its_files_were_found_elsewhere() {
    let results = tempfile::tempdir().unwrap();
    let data =
        |kind: &str, hash: &str| json!({ "checkpoint": { "origin": { "kind": kind }, "sha256": hash } });
    RunDirectory::create(results.path(), identity(), CONFIG, &data("hub", "a")).unwrap();
    RunDirectory::resume(results.path(), identity(), CONFIG, &data("cache", "a"), 0).unwrap();
    let error = RunDirectory::resume(results.path(), identity(), CONFIG, &data("hub", "b"), 0).unwrap_err();
    assert!(error.to_string().contains("begun with other data"), "{error}");
}

#[test]
fn a_run_begun_afresh_has_no_old_end() {
    let results = tempfile::tempdir().unwrap();
    RunDirectory::create(results.path(), identity(), CONFIG, &json!({}))
        .unwrap()
        .finish(outcome(0.5))
        .unwrap();
    let run = RunDirectory::create(results.path(), identity(), CONFIG, &json!({})).unwrap();
    assert!(!run.path().join("summary.json").exists());
}

#[test]
fn resume_cuts_the_log_and_refuses_another_beginning() {
    let results = tempfile::tempdir().unwrap();
    let data = json!({"files": ["a"]});
    let mut run = RunDirectory::create(results.path(), identity(), CONFIG, &data).unwrap();
    for number in 1..=4 {
        run.log(number, &step(number as f64)).unwrap();
    }
    let path = run.path().to_owned();
    drop(run);
    let mut run = RunDirectory::resume(results.path(), identity(), CONFIG, &data, 2).unwrap();
    run.log(3, &step(3.0)).unwrap();
    let log = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 3, "{log}");

    let other = CONFIG.replace("0.1", "0.2");
    let error = RunDirectory::resume(results.path(), identity(), &other, &data, 2).unwrap_err().to_string();
    assert!(error.ends_with("config.toml: begun with another configuration; fix: start afresh"), "{error}");
    let error =
        RunDirectory::resume(results.path(), identity(), CONFIG, &json!({}), 2).unwrap_err().to_string();
    assert!(error.ends_with("data.json: begun with other data; fix: start afresh"), "{error}");
}

#[test]
fn a_folder_that_is_not_writable_is_one_clear_line() {
    // Below a regular file nothing can be made, whatever the rights of the user.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results");
    std::fs::write(&file, "a file").unwrap();
    let error = RunDirectory::create(&file, identity(), CONFIG, &json!({})).unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains("config.toml") && message.contains("fix: check the rights"), "{message}");
    assert_eq!(message.lines().count(), 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a file");
}

#[test]
fn a_full_disk_while_logging_names_file_and_mend() {
    let results = tempfile::tempdir().unwrap();
    let mut run = RunDirectory::create(results.path(), identity(), CONFIG, &json!({})).unwrap();
    // Every write to /dev/full fails with "no space left on device".
    run.log = MetricsLog::on_full_device();
    let message = format!("{:#}", run.log(1, &step(1.0)).unwrap_err());
    assert!(message.contains("metrics.jsonl: cannot be written; fix: check the free space"), "{message}");
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn what_no_reader_may_meet_is_not_written() {
    let results = tempfile::tempdir().unwrap();
    let run = RunDirectory::create(results.path(), identity(), CONFIG, &json!({})).unwrap();
    let path = run.path().join("summary.json");
    let error = format!("{:#}", run.finish(outcome(f64::NAN)).unwrap_err());
    assert!(error.contains("summary.json: metric lcqmc/test/spearman is NaN"), "{error}");
    assert!(!path.exists());
    let run = RunDirectory::create(results.path(), identity(), CONFIG, &json!({})).unwrap();
    assert!(run.finish(Outcome { reason: None, ..Outcome::failed("x", 1) }).is_err(), "a failure says why");
}

#[test]
fn names_that_are_no_folder_names_are_refused() {
    for config in ["../up", "a/b", "", "Capital", ".hidden"] {
        let identity = RunIdentity { config: config.into(), ..identity() };
        let results = tempfile::tempdir().unwrap();
        let error =
            RunDirectory::create(results.path(), identity, CONFIG, &json!({})).unwrap_err().to_string();
        assert!(error.contains("run name"), "{error}");
        assert_eq!(std::fs::read_dir(results.path()).unwrap().count(), 0);
    }
}
