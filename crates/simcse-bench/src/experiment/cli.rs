//! The command line that all experiments share.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use simcse_data::DataSource;
use simcse_ops::profile;
use simcse_train::interrupt::Interrupt;

use super::sweep::{Shard, Sweep, array_script};
use super::{RunOptions, one_line, sweep};
use crate::report;

/// Runs an experiment file: a single configuration, or a sweep of variants and seeds.
///
/// Runs that are finished are left alone; a run that was stopped goes on where it was.
#[derive(Debug, Parser)]
pub struct ExperimentCli {
    /// Configuration or sweep file (TOML)
    #[arg(required = true)]
    configs: Vec<PathBuf>,
    /// Seed in place of that of the file; may be given several times
    #[arg(long = "seed", value_name = "N")]
    seeds: Vec<u64>,
    /// Results folder
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Replaces a value of the configuration; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Folder with data sets
    #[arg(long, value_name = "DIR", env = "SIMCSE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Folder with vectors and weights
    #[arg(long, value_name = "DIR", env = "SIMCSE_MODEL_DIR")]
    model_dir: Option<PathBuf>,
    /// Folder that keeps embeddings of untrained encoders, so that raw and whitened rows compute them once
    #[arg(long, value_name = "DIR", env = "SIMCSE_CACHE_DIR")]
    cache_dir: Option<PathBuf>,
    /// Prints where the time of training steps went, kernel by kernel
    #[arg(long)]
    profile: bool,
    /// Runs again what is finished
    #[arg(long)]
    again: bool,
    /// Only every N-th run, from the I-th on: for several machines. Processes that share a results folder share the work
    /// without it
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Runs nothing, and prints the script of a SLURM array job of N tasks instead
    #[arg(long, value_name = "N", conflicts_with = "shard")]
    slurm: Option<NonZeroUsize>,
}

impl ExperimentCli {
    /// Runs everything and prints the table of the runs.
    ///
    /// In a sweep a run that fails is recorded with its reason and the next one begins; at the end the failures
    /// are counted. Ctrl-C stops the sweep. Several processes may be at one sweep.
    pub fn run(&self) -> Result<()> {
        let options = RunOptions {
            results: self.out.clone(),
            source: DataSource::new(self.data_dir.clone())?,
            model_dir: self.model_dir.clone(),
            interrupt: Interrupt::of_process()?,
            again: self.again,
            cache: self.cache_dir.clone(),
        };
        if self.profile {
            profile::enable();
        }
        let mut configs = Vec::new();
        for path in &self.configs {
            configs.extend(sweep::load(path, &self.seeds, &self.overrides)?);
        }
        if let Some(tasks) = self.slurm {
            let words: Vec<String> = std::env::args().collect();
            let script = array_script(&configs[0].experiment, &without_slurm(words), tasks.get());
            return Ok(write!(std::io::stdout(), "{script}")?);
        }
        let sweep = Sweep { configs: &configs, shard: self.shard, options: &options };
        let walked = sweep.walk(&say, self.profile)?;
        writeln!(std::io::stdout(), "{}", report::terminal_table(&walked.summaries)?)?;
        if walked.elsewhere > 0 {
            say(&format!("{} runs are under way in other processes", walked.elsewhere));
        }
        ensure!(
            walked.failures == 0,
            "{} of {} runs failed; fix: see each `failed` above, then give the same command again",
            walked.failures,
            configs.len()
        );
        Ok(())
    }

    /// Runs, and turns an error into one line on standard error and an exit code that is not 0.
    pub fn main() -> ExitCode {
        simcse_ops::process::run(|| match Self::parse().run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("error: {}", one_line(&error)));
                ExitCode::FAILURE
            }
        })
    }
}

/// The command line again, but for `--slurm N`.
fn without_slurm(words: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--slurm" {
            words.next();
        } else if !word.starts_with("--slurm=") {
            kept.push(word);
        }
    }
    kept
}

fn say(line: &str) {
    // A closed standard error is no reason to stop a training.
    drop(writeln!(std::io::stderr(), "{line}"));
}
