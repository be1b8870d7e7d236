//! Reading recorded runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::record::{Summary, config_sha256};

/// A run and where it lies.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedRun {
    /// Its directory, for messages.
    pub directory: PathBuf,
    /// What it recorded.
    pub summary: Summary,
}

impl LoadedRun {
    /// What `pick` finds in the lines of the run's log; nothing for a run without a log.
    ///
    /// # Errors
    /// When the log cannot be read, or a line is no JSON; the message names the file.
    pub(super) fn logged<T>(&self, pick: impl Fn(&Value) -> Option<T>) -> anyhow::Result<Vec<T>> {
        let path = self.directory.join("metrics.jsonl");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let read = || -> anyhow::Result<Vec<T>> {
            let text = std::fs::read_to_string(&path)?;
            let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
            Ok(lines.iter().filter_map(&pick).collect())
        };
        read().with_context(|| path.display().to_string())
    }
}

/// The runs under a results folder.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunSet {
    /// Runs that ended, on real data; by experiment, then directory.
    pub runs: Vec<LoadedRun>,
    /// Runs on the bundled sample: left out.
    pub sample: usize,
    /// Directories without `summary.json`: under way or killed; left out.
    pub unfinished: usize,
}

/// All runs under `results/runs`. Those on the bundled sample never enter a table.
///
/// # Errors
/// When a `summary.json` is malformed or lies in a directory of another name; the message names the file.
pub fn load_results(results: &Path) -> anyhow::Result<RunSet> {
    let mut set = RunSet::default();
    for experiment in folders(&results.join("runs"))? {
        for directory in folders(&experiment)? {
            if !directory.join("summary.json").exists() {
                set.unfinished += 1;
                continue;
            }
            let run = load_run(&directory)?;
            check_place(&run)?;
            check_config(&run)?;
            if run.summary.real_data {
                set.runs.push(run);
            } else {
                set.sample += 1;
            }
        }
    }
    refuse_duplicates(&set.runs)?;
    Ok(set)
}

/// Two runs of one configuration and seed would count twice.
pub(super) fn refuse_duplicates(runs: &[LoadedRun]) -> anyhow::Result<()> {
    let mut sorted: Vec<&LoadedRun> = runs.iter().collect();
    let key =
        |run: &LoadedRun| (run.summary.experiment.clone(), run.summary.config.clone(), run.summary.seed);
    sorted.sort_by_key(|run| key(run));
    for pair in sorted.windows(2) {
        let [first, second] = pair else { continue };
        ensure!(
            key(first) != key(second),
            "{} and {} are the same run; fix: remove one",
            first.directory.display(),
            second.directory.display()
        );
    }
    Ok(())
}

fn load_run(directory: &Path) -> anyhow::Result<LoadedRun> {
    let summary = Summary::read(&directory.join("summary.json"))?;
    Ok(LoadedRun { directory: directory.to_owned(), summary })
}

/// The configuration beside a summary is the one that it was made with.
fn check_config(run: &LoadedRun) -> anyhow::Result<()> {
    let path = run.directory.join("config.toml");
    let config =
        std::fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    ensure!(
        config_sha256(&config)? == run.summary.config_sha256,
        "{}: is not the configuration that summary.json was made with; fix: run it again",
        path.display()
    );
    Ok(())
}

/// A copied directory must not count as another run.
fn check_place(run: &LoadedRun) -> anyhow::Result<()> {
    let place = run.summary.place();
    ensure!(
        run.directory.ends_with(&place),
        "{}: is the run {place}; fix: remove the copy, or give the directory its name back",
        run.directory.join("summary.json").display()
    );
    Ok(())
}

/// The folders in a folder, sorted; none if it is not there.
fn folders(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let problem = || format!("{}: cannot be read", path.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).with_context(problem)? {
        let path = entry.with_context(problem)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
