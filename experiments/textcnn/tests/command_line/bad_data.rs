//! Data files that are absent or broken.

use crate::common::{World, assert_says, error_line, pairs};

/// Runs on a broken file and returns the line of error; nothing may have been written.
fn error_with(name: &str, bytes: &[u8]) -> String {
    let world = World::new();
    world.write(name, bytes);
    let line = error_line(&world.command("out", &[]).output().unwrap());
    assert!(world.files("out").is_empty(), "{:?}", world.files("out").keys());
    line
}

/// The good rows with the third one replaced.
fn with_third_row(row: &[u8]) -> Vec<u8> {
    let good = pairs(0, 60);
    let mut rows: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    rows[2] = row;
    rows.concat()
}

#[test]
fn good_data_runs() {
    let world = World::new();
    let output = world.command("out", &[]).output().unwrap();
    assert!(output.status.success(), "{}", crate::common::stderr(&output));
    let summary = world.summary("out");
    assert_eq!((&summary["status"], &summary["real_data"]), (&"ok".into(), &true.into()));
    let names: Vec<String> = world.files(&format!("out/{}", crate::common::RUN)).into_keys().collect();
    let wanted = [
        "config.toml",
        "data.json",
        "encoder/config.json",
        "encoder/model.safetensors",
        "encoder/vocabulary.json",
        "env.json",
        "metrics.jsonl",
        "summary.json",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn a_data_folder_that_is_not_there() {
    let world = World::new();
    std::fs::rename(world.path("data"), world.path("elsewhere")).unwrap();
    let line = error_line(&world.command("out", &[]).output().unwrap());
    assert_says(&line, "data folder data not found", &["fix: correct --data-dir"]);
    assert!(world.files("out").is_empty());
}

#[test]
fn a_row_with_too_few_columns() {
    let line = error_with("data/LCQMC/dev.txt", &with_third_row("只有一句\t第二句\n".as_bytes()));
    assert_says(&line, "data/LCQMC/dev.txt:3: ", &["column", "fix: "]);
}

#[test]
fn a_label_that_is_no_number() {
    let line = error_with("data/LCQMC/dev.txt", &with_third_row("一句话\t两句话\t是\n".as_bytes()));
    assert_says(&line, "data/LCQMC/dev.txt:3: ", &["是", "fix: "]);
}

#[test]
fn a_label_out_of_range() {
    let line = error_with("data/LCQMC/test.txt", &with_third_row("一句话\t两句话\t7\n".as_bytes()));
    assert_says(&line, "data/LCQMC/test.txt:3: ", &["7", "fix: "]);
}

#[test]
fn bytes_that_are_not_utf8() {
    // The same row in GB18030.
    let line = error_with("data/LCQMC/test.txt", &with_third_row(b"\xd2\xbb\xbe\xe4\t\xc1\xbd\xbe\xe4\t1\n"));
    assert_says(&line, "data/LCQMC/test.txt:3: not valid UTF-8", &["fix: convert"]);
}

#[test]
fn files_without_rows() {
    for name in ["data/LCQMC/dev.txt", "data/LCQMC/test.txt"] {
        for bytes in [&b""[..], b"\n\r\n", b"\xef\xbb\xbf\n"] {
            assert_says(&error_with(name, bytes), &format!("{name}: no rows"), &["fix: "]);
        }
    }
}

#[test]
fn a_task_that_selects_and_is_not_there() {
    let world = World::new();
    world.set("tasks", r#"["lcqmc", "atec"]"#);
    world.set("select_on", r#"["atec"]"#);
    let line = error_line(&world.command("out", &[]).output().unwrap());
    assert_says(&line, "data set atec/dev not found", &["looked in: the data folder data", "fix: put ATEC/"]);
}

#[test]
fn a_task_that_selects_and_is_not_scored() {
    let world = World::new();
    world.set("select_on", r#"["atec"]"#);
    let line = error_line(&world.command("out", &[]).output().unwrap());
    assert_says(
        &line,
        "small.toml:",
        &["evaluation.select_on", "fix: name only tasks that stand in evaluation.tasks"],
    );
}

#[test]
fn names_that_are_in_no_catalogue() {
    for (key, value) in [("train", r#"["lcmqc/dev"]"#), ("tasks", r#"["lcqmc", "lcmqc"]"#)] {
        let world = World::new();
        world.set(key, value);
        let line = error_line(&world.command("out", &[]).output().unwrap());
        assert_says(&line, "unknown data set `lcmqc`", &["fix: use one of lcqmc, "]);
    }
}

#[test]
fn text_that_is_all_in_the_test_set() {
    let world = World::new();
    world.write("data/LCQMC/test.txt", &pairs(0, 60));
    let line = error_line(&world.command("out", &[]).output().unwrap());
    assert_says(&line, "", &["no training sentence is left", "fix: "]);
}

#[test]
fn vectors_that_are_not_there() {
    let world = World::new();
    let set = r#"encoder.vectors="none.vec""#;
    let line = error_line(&world.command("out", &["--set", set]).output().unwrap());
    assert_says(&line, "encoder.vectors = \"none.vec\"", &["fix: give --model-dir or SIMCSE_MODEL_DIR"]);
}
