//! `simcse evaluate`: the metrics of one encoder or baseline.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use simcse_bench::baselines::{Baseline, evaluate_baseline};
use simcse_bench::tasks::{Scores, TRUNCATED, evaluate};
use simcse_data::PairSet;

use crate::data::{DataOptions, TaskOptions};
use crate::raw::RawOptions;
use crate::say;

/// Score an encoder, or a baseline, on sentence-pair data sets
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["encoder", "baseline"]))]
pub(crate) struct EvaluateCommand {
    /// Directory of a trained encoder, or of one of sentence-transformers; with --pooling a checkpoint: a
    /// folder, its name below the model folder, or owner/name on the hub
    encoder: Option<String>,
    #[command(flatten)]
    raw: RawOptions,
    /// A method without training, in place of an encoder
    #[arg(long, value_enum)]
    baseline: Option<BaselineName>,
    /// File of character vectors, for `--baseline mean-character-vectors`
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Seed, for `--baseline mean-random-vectors`
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tasks: TaskOptions,
    #[command(flatten)]
    data: DataOptions,
}

/// Names of the baselines.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum BaselineName {
    /// Jaccard index of the characters
    CharacterJaccard,
    /// Mean of random character vectors
    MeanRandomVectors,
    /// Mean of given character vectors
    MeanCharacterVectors,
}

impl EvaluateCommand {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        // What is to be scored comes first: loading the data takes longer than a typing error deserves.
        let scores = match (&self.encoder, self.baseline) {
            (Some(name), _) => {
                let encoder = self.raw.load(name)?;
                evaluate(encoder.as_ref(), &self.sets()?)?
            }
            (None, Some(name)) => {
                let baseline = self.baseline(name)?;
                evaluate_baseline(&baseline, &self.sets()?)?
            }
            (None, None) => anyhow::bail!("nothing to score; fix: give an encoder directory or --baseline"),
        };
        if let Some(count) = scores.get(TRUNCATED).filter(|count| **count > 0.0) {
            say(&format!("{count} sentences were longer than the encoder takes, and cut off"));
        }
        self.print(&scores)?;
        Ok(ExitCode::SUCCESS)
    }

    fn sets(&self) -> Result<Vec<PairSet>> {
        self.data.load(&self.tasks)
    }

    fn baseline(&self, name: BaselineName) -> Result<Baseline> {
        Ok(match name {
            BaselineName::CharacterJaccard => Baseline::CharacterJaccard,
            BaselineName::MeanRandomVectors => Baseline::MeanRandomVectors { seed: self.seed },
            BaselineName::MeanCharacterVectors => {
                let path = self.vectors.clone();
                let path = path.context("mean-character-vectors needs vectors; fix: give --vectors FILE")?;
                Baseline::MeanCharacterVectors { path }
            }
        })
    }

    fn print(&self, scores: &Scores) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(scores)?)?;
            return Ok(());
        }
        let width = scores.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in scores {
            writeln!(out, "{name:<width$}  {value:>8.4}")?;
        }
        Ok(())
    }
}
