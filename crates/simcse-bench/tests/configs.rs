//! Every committed configuration can be run and says how.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::{Path, PathBuf};

use simcse_bench::experiment::sweep;
use simcse_bench::record::config_sha256;
use simcse_bench::report::{Definitions, load_results};

fn experiments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
}

/// All `experiments/<name>/configs/*.toml`, with the path as a user at the root writes it.
fn configs() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for experiment in std::fs::read_dir(experiments()).unwrap().flatten() {
        for file in std::fs::read_dir(experiment.path().join("configs")).into_iter().flatten().flatten() {
            let (experiment, name) = (experiment.file_name(), file.file_name());
            let shown = format!("experiments/{}/configs/{}", experiment.display(), name.display());
            assert!(shown.ends_with(".toml"), "{shown} is no configuration");
            found.push((file.path(), shown));
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

#[test]
fn each_file_describes_runs() {
    for (path, shown) in configs() {
        let runs = sweep::load(&path, &[], &[]).unwrap_or_else(|error| panic!("{error:#}"));
        for run in &runs {
            assert!(
                shown.contains(&format!("experiments/{}/", run.experiment)),
                "{shown} is of {}",
                run.experiment
            );
            assert!(
                !run.label.trim().is_empty() && !run.group.trim().is_empty(),
                "{shown}: {} has no label",
                run.name
            );
        }
        let mut folders: Vec<(&str, u64)> = runs.iter().map(|run| (run.name.as_str(), run.seed)).collect();
        folders.sort_unstable();
        assert!(folders.windows(2).all(|two| two[0] != two[1]), "{shown}: two runs have one folder");
    }
}

/// What a run records reads back as the same run: its `config.toml` is a configuration as well.
#[test]
fn what_is_recorded_can_be_run_again() {
    for (path, shown) in configs() {
        for run in sweep::load(&path, &[], &[]).unwrap_or_else(|error| panic!("{error:#}")) {
            let table = toml::from_str(&run.to_toml().unwrap()).unwrap();
            assert_eq!(simcse_bench::config::RunConfig::from_table(table, &[]).unwrap(), run, "{shown}");
        }
    }
}

/// What a table shows is what its files describe: `simcse reproduce` would make the same runs.
#[test]
fn recorded_runs_are_those_of_the_files() {
    let root = experiments().join("..");
    let definitions = Definitions::read(&root.join("results/tables.toml")).unwrap();
    let recorded = load_results(&root.join("results")).unwrap().runs;
    for table in &definitions.table {
        let load = |file: &String| sweep::load(&root.join(file), &[], &[]).unwrap();
        let described: Vec<(String, u64, String)> = table
            .sweeps
            .iter()
            .flat_map(load)
            .map(|config| {
                (config.name.clone(), config.seed, config_sha256(&config.to_toml().unwrap()).unwrap())
            })
            .collect();
        for name in &table.first {
            let known = described.iter().any(|(config, ..)| config == name);
            assert!(known, "table {}: no file describes its first row {name}", table.name);
        }
        for run in recorded.iter().map(|run| &run.summary) {
            if !table.shows(&run.experiment, &run.config, &run.group) {
                continue;
            }
            let run = (run.config.clone(), run.seed, run.config_sha256.clone());
            assert!(
                described.contains(&run),
                "table {}: no file describes {}-s{} as it was run",
                table.name,
                run.0,
                run.1
            );
        }
    }
}

/// The names of all values of a table, without those of the sections that they stand in.
fn keys(table: &toml::Table) -> Vec<&str> {
    fn below<'a>((key, value): (&'a String, &'a toml::Value)) -> Vec<&'a str> {
        match value {
            toml::Value::Table(section) => keys(section),
            toml::Value::Array(entries) if entries.first().is_some_and(toml::Value::is_table) => {
                entries.iter().filter_map(toml::Value::as_table).flat_map(keys).collect()
            }
            _ => vec![key.as_str()],
        }
    }
    table.iter().flat_map(below).collect()
}

#[test]
fn each_key_is_in_the_documentation() {
    let read = |name| std::fs::read_to_string(experiments().join("../docs").join(name)).unwrap();
    let text = read("configuration.md") + &read("encoders.md");
    for (path, shown) in configs() {
        for run in sweep::load(&path, &[], &[]).unwrap() {
            let table: toml::Table = toml::from_str(&run.to_toml().unwrap()).unwrap();
            for key in keys(&table) {
                let forms = [format!("`{key}`"), format!(".{key}`"), format!("`{key} = ")];
                assert!(
                    forms.iter().any(|form| text.contains(form)),
                    "{shown}: {key} is in neither docs/configuration.md nor docs/encoders.md"
                );
            }
        }
    }
}

#[test]
fn each_file_begins_with_a_comment_that_has_its_command() {
    for (path, shown) in configs() {
        let text = std::fs::read_to_string(&path).unwrap();
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        let command = head.iter().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            (line.starts_with("cargo run ") || line.starts_with("just ") || line.starts_with("./go "))
                && (line.contains(&shown) || line.starts_with("just ") || line.starts_with("./go "))
        });
        assert!(command, "{shown}: no command in the comment at its head");
        assert!(head.len() > 1, "{shown}: the comment at its head does not say what it is");
    }
}
