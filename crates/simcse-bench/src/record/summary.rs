//! `summary.json`: how a run ended and what it reached.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::seal;

/// Version of the layout of `summary.json`.
pub const SCHEMA_VERSION: u32 = 2;

/// How a run ended. Failures are rows too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// To the end.
    Ok,
    /// With an error or a failed health check.
    Failed,
    /// On request, before the end.
    Stopped,
}

/// Everything the tables need of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// Experiment; also the name of the parent directory.
    pub experiment: String,
    /// Configuration; with the seed the name of the directory.
    pub config: String,
    /// The configuration for people, as in the rows of a table.
    pub label: String,
    /// What is varied (`dropout`), or `headline`.
    pub group: String,
    /// Master seed.
    pub seed: u64,
    /// How the run ended.
    pub status: Status,
    /// Why it failed or stopped; `null` when it is ok.
    pub reason: Option<String>,
    /// Whether training saw text of an evaluation set, even unlabelled.
    pub transductive: bool,
    /// `false` when any data came from the bundled sample; such a run never enters a table.
    pub real_data: bool,
    /// [`super::config_sha256`] of `config.toml`.
    pub config_sha256: String,
    /// [`super::files_sha256`] of all data files, training and evaluation.
    pub data_sha256: String,
    /// Hash of the files of each evaluation set (`lcqmc/test`), so that rows of different experiments can be
    /// told to have been scored on the same data.
    pub evaluation_sha256: BTreeMap<String, String>,
    /// Step whose weights were scored, chosen on dev.
    pub selected_step: u64,
    /// Steps trained.
    pub steps: u64,
    /// Wall-clock time with evaluation, seconds; of a resumed run its last part.
    pub wall_s: f64,
    /// Training speed, sentences (each view once) per second; 0 without training.
    pub sentences_per_s: f64,
    /// Final metrics by name; correlations are fractions, not per cent.
    pub metrics: BTreeMap<String, f64>,
}

impl Summary {
    /// Reads and checks a `summary.json` with the log beside it.
    ///
    /// # Errors
    /// When the file cannot be read, is not of this layout or version, contradicts itself, or is not what the run
    /// wrote, nor is its log; the message names the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("{shown}: cannot be read"))?;
        let log = path.with_file_name("metrics.jsonl");
        let log = match std::fs::read(&log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{}: cannot be read", log.display()));
            }
            read => read.unwrap_or_default(),
        };
        let opened = seal::open(&text);
        let summary: Self = serde_json::from_str(&opened.object).map_err(|error| {
            anyhow::anyhow!(
                "{shown}:{}: {error}; fix: see results/SCHEMA.md, or run the experiment again",
                error.line()
            )
        })?;
        summary.check().with_context(|| format!("{shown}: fix: run the experiment again"))?;
        let mend = || format!("{shown}: fix: take it back from git, or run it again with --again");
        opened.check(&log).with_context(mend)?;
        Ok(summary)
    }

    /// `EXPERIMENT/CONFIG`, as tables, comparisons and the command line name a configuration.
    pub fn name(&self) -> String {
        format!("{}/{}", self.experiment, self.config)
    }

    /// Where the run lies below `runs/`: `EXPERIMENT/CONFIG-sSEED`.
    pub fn place(&self) -> String {
        format!("{}-s{}", self.name(), self.seed)
    }

    /// The text of `summary.json` beside a log.
    ///
    /// # Errors
    /// When it contradicts itself.
    pub(crate) fn sealed(&self, log: &[u8]) -> anyhow::Result<String> {
        self.check()?;
        Ok(seal::close(&serde_json::to_string_pretty(self)?, log))
    }

    /// What no reader may meet: another version, numbers that are no numbers, a failure without a reason.
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.schema == SCHEMA_VERSION, "schema {} where {SCHEMA_VERSION} is known", self.schema);
        for (name, value) in &self.metrics {
            ensure!(value.is_finite(), "metric {name} is {value}");
        }
        ensure!(self.wall_s.is_finite() && self.sentences_per_s.is_finite(), "a time is not finite");
        ensure!(self.status == Status::Ok || self.reason.is_some(), "a run that is not ok needs a reason");
        Ok(())
    }
}
