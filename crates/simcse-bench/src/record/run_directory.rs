//! Writing the directory of a run.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde_json::{Map, Value};

use super::metrics_log::{MetricsLog, line, lines_until};
use super::{Environment, SCHEMA_VERSION, Status, Summary, config_sha256, without_origins, write_whole};

/// What a run is, known before it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct RunIdentity {
    /// Experiment (`textcnn`): lower-case letters, digits, `-`, `_`, `.`.
    pub experiment: String,
    /// Configuration (`dropout-0.1`), as above.
    pub config: String,
    /// The configuration for people, as in the rows of a table.
    pub label: String,
    /// What is varied (`dropout`), or `headline`.
    pub group: String,
    /// Master seed.
    pub seed: u64,
    /// Precision of weights and arithmetic (`f32`).
    pub precision: String,
    /// Whether training sees text of an evaluation set, even unlabelled.
    pub transductive: bool,
    /// `false` when any data comes from the bundled sample.
    pub real_data: bool,
    /// [`super::files_sha256`] of all data files.
    pub data_sha256: String,
    /// Hash of each evaluation set, from [`crate::tasks::evaluation_hashes`].
    pub evaluation_sha256: BTreeMap<String, String>,
}

impl RunIdentity {
    /// `runs/<experiment>/<config>-s<seed>` under the results folder.
    pub fn directory(&self, results: &Path) -> PathBuf {
        results.join("runs").join(&self.experiment).join(format!("{}-s{}", self.config, self.seed))
    }

    /// Names become folders: no separators, nothing hidden, nothing that a file system folds.
    fn check(&self) -> anyhow::Result<()> {
        for name in [&self.experiment, &self.config] {
            ensure!(is_run_name(name), "run name {name:?}; fix: {RUN_NAME}");
        }
        Ok(())
    }
}

/// The directory of a run that ended: `EXPERIMENT/CONFIG-sSEED` below `runs` of the results folder, or a path.
pub fn find_run(results: &Path, name: &str) -> Option<PathBuf> {
    let places = [PathBuf::from(name), results.join("runs").join(name)];
    places.into_iter().find(|place| place.join("summary.json").is_file())
}

/// How to mend what is no [`is_run_name`].
pub(crate) const RUN_NAME: &str = "use lower-case letters, digits, `-`, `_` and `.`";

/// Whether an experiment or a configuration may have this name.
pub(crate) fn is_run_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed)
}

/// How a run ended and what it reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Why it failed or stopped; `None` when ok.
    pub reason: Option<String>,
    /// Step whose weights were scored.
    pub selected_step: u64,
    /// Steps trained.
    pub steps: u64,
    /// Training speed, sentences per second; 0 without training.
    pub sentences_per_s: f64,
    /// Final metrics by name, fractions.
    pub metrics: BTreeMap<String, f64>,
}

impl Outcome {
    /// A run that ended as it should, with its final metrics.
    pub fn ok(metrics: BTreeMap<String, f64>, selected_step: u64, steps: u64, sentences_per_s: f64) -> Self {
        Self { status: Status::Ok, reason: None, selected_step, steps, sentences_per_s, metrics }
    }

    /// A run that ended with an error or a failed health check, at `step`.
    pub fn failed(reason: impl Into<String>, step: u64) -> Self {
        Self::unfinished(Status::Failed, reason.into(), step)
    }

    /// A run that was stopped on request, at `step`.
    pub fn stopped(reason: impl Into<String>, step: u64) -> Self {
        Self::unfinished(Status::Stopped, reason.into(), step)
    }

    fn unfinished(status: Status, reason: String, step: u64) -> Self {
        let metrics = BTreeMap::new();
        Self { status, reason: Some(reason), selected_step: step, steps: step, sentences_per_s: 0.0, metrics }
    }
}

/// The directory of a run under way.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    identity: RunIdentity,
    config_sha256: String,
    log: MetricsLog<File>,
    begun: Instant,
}

impl RunDirectory {
    /// Starts a run afresh: writes `config.toml`, `env.json`, `data.json` and an empty log. What an earlier run
    /// of the same name and seed left is replaced; its `summary.json` goes first, so that no end stands beside
    /// another beginning.
    ///
    /// `config` is the resolved configuration as TOML, `data` the manifest of the data.
    ///
    /// # Errors
    /// When a name is no plain folder name, `config` is no TOML, the folder cannot be written or the disk is
    /// full; the message names the path and the mend.
    pub fn create(results: &Path, identity: RunIdentity, config: &str, data: &Value) -> anyhow::Result<Self> {
        identity.check()?;
        let config_sha256 = config_sha256(config)?;
        let path = identity.directory(results);
        remove_if_there(&path.join("summary.json"))?;
        // An encoder of an earlier run must not stand beside this one's record: loaders begin with these.
        for name in ["simcse.json", "modules.json", "config.json"] {
            remove_if_there(&path.join("encoder").join(name))?;
        }
        remove_unfinished_files(&path)?;
        write_whole(&path.join("config.toml"), config.as_bytes())?;
        write_json(&path.join("env.json"), &Environment::gather(&identity.precision, identity.seed))?;
        write_json(&path.join("data.json"), data)?;
        let log = MetricsLog::open(&path.join("metrics.jsonl"), "")?;
        Ok(Self { path, identity, config_sha256, log, begun: Instant::now() })
    }

    /// Goes on with a run from its checkpoint of `step`: log lines beyond that step are cut off, since they will
    /// be written again. `env.json` is written anew, the rest stays.
    ///
    /// # Errors
    /// As [`RunDirectory::create`]; also when the directory was begun with another configuration or other data.
    pub fn resume(
        results: &Path,
        identity: RunIdentity,
        config: &str,
        data: &Value,
        step: u64,
    ) -> anyhow::Result<Self> {
        identity.check()?;
        let config_sha256 = config_sha256(config)?;
        let path = identity.directory(results);
        let begun_with = read_text(&path.join("config.toml"))?;
        if self::config_sha256(&begun_with).ok().as_ref() != Some(&config_sha256) {
            bail!(
                "{}: begun with another configuration; fix: start afresh",
                path.join("config.toml").display()
            );
        }
        let begun_with: Option<Value> = serde_json::from_str(&read_text(&path.join("data.json"))?).ok();
        if begun_with.map(without_origins) != Some(without_origins(data.clone())) {
            bail!("{}: begun with other data; fix: start afresh", path.join("data.json").display());
        }
        let log_path = path.join("metrics.jsonl");
        let kept =
            lines_until(&read_text(&log_path)?, step).with_context(|| log_path.display().to_string())?;
        remove_if_there(&path.join("summary.json"))?;
        remove_unfinished_files(&path)?;
        write_json(&path.join("env.json"), &Environment::gather(&identity.precision, identity.seed))?;
        let log = MetricsLog::open(&log_path, &kept)?;
        Ok(Self { path, identity, config_sha256, log, begun: Instant::now() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `{"step": step, ...values}` to `metrics.jsonl` and hands it to the system.
    ///
    /// # Errors
    /// When the disk is full or the file is gone; then the line is not there in part either.
    pub fn log(&mut self, step: u64, values: &Map<String, Value>) -> anyhow::Result<()> {
        self.log.append(&line(step, values)).with_context(|| {
            let path = self.path.join("metrics.jsonl");
            format!("{}: cannot be written; fix: check the free space of the disk", path.display())
        })
    }

    /// Writes `summary.json`. The wall-clock time is that since this value was made.
    ///
    /// # Errors
    /// When a metric is not finite, a run that is not ok has no reason, or the file cannot be written.
    pub fn finish(self, outcome: Outcome) -> anyhow::Result<Summary> {
        let summary = Summary {
            schema: SCHEMA_VERSION,
            experiment: self.identity.experiment,
            config: self.identity.config,
            label: self.identity.label,
            group: self.identity.group,
            seed: self.identity.seed,
            status: outcome.status,
            reason: outcome.reason,
            transductive: self.identity.transductive,
            real_data: self.identity.real_data,
            config_sha256: self.config_sha256,
            data_sha256: self.identity.data_sha256,
            evaluation_sha256: self.identity.evaluation_sha256,
            selected_step: outcome.selected_step,
            steps: outcome.steps,
            wall_s: self.begun.elapsed().as_secs_f64(),
            sentences_per_s: outcome.sentences_per_s,
            metrics: outcome.metrics,
        };
        let (path, log) = (self.path.join("summary.json"), self.path.join("metrics.jsonl"));
        let log = std::fs::read(&log).with_context(|| format!("{}: cannot be read", log.display()))?;
        let text = summary.sealed(&log).with_context(|| path.display().to_string())?;
        write_whole(&path, text.as_bytes())?;
        Ok(summary)
    }
}

/// The summary of a run that ended before, whatever its status; `None` if there is none. By this a sweep
/// knows what is left to do.
///
/// # Errors
/// When there is a `summary.json` that cannot be read.
pub fn finished_run(
    results: &Path,
    experiment: &str,
    config: &str,
    seed: u64,
) -> anyhow::Result<Option<Summary>> {
    let path = results.join("runs").join(experiment).join(format!("{config}-s{seed}")).join("summary.json");
    match Summary::read(&path) {
        // Another process may have begun the run again since it was looked for.
        Err(_) if !path.exists() => Ok(None),
        read => read.map(Some),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    Ok(write_whole(path, text.as_bytes())?)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let problem = || format!("{}: cannot be read; fix: start the run afresh", path.display());
    std::fs::read_to_string(path).with_context(problem)
}

/// Removes the temporary files of a run that was killed while it wrote a file.
fn remove_unfinished_files(path: &Path) -> anyhow::Result<()> {
    for folder in [path.to_owned(), path.join("encoder")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // The names that `tempfile` gives.
            let is_temporary = entry.file_name().to_string_lossy().starts_with(".tmp");
            if is_temporary && entry.path().is_file() {
                remove_if_there(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if path.exists() => {
            Err(error).with_context(|| format!("{}: fix: check the rights of the folder", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "run_directory_tests.rs"]
mod tests;
