//! The options of everything that runs sweeps.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use simcse_data::DataSource;
use simcse_ops::profile;
use simcse_train::interrupt::Interrupt;

use super::sweep::{Shard, Sweep, array_script};
use super::{RunOptions, say, sweep};
use crate::config::RunConfig;
use crate::report;

/// Where runs read and write, and which of them are this process's own.
#[derive(Debug, clap::Args)]
pub struct SweepOptions {
    /// Seed in place of that of the file; may be given several times
    #[arg(long = "seed", value_name = "N")]
    seeds: Vec<u64>,
    /// Results folder; if not given, `out` for experiments and `results` for tables
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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
    /// Leaves records without encoders, which take a hundred megabytes each and more where they are transformers
    #[arg(long)]
    no_encoders: bool,
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
    /// Runs nothing, and prints what has not ended well yet, one EXPERIMENT/CONFIG-sSEED a line
    #[arg(long, conflicts_with = "slurm")]
    list: bool,
    /// Runs nothing, and prints the script of a SLURM array job of N tasks instead
    #[arg(long, value_name = "N", conflicts_with = "shard")]
    slurm: Option<NonZeroUsize>,
}

impl SweepOptions {
    /// The runs that a configuration or sweep file describes, with the seeds and values of the command line.
    pub fn load(&self, path: &Path) -> Result<Vec<RunConfig>> {
        sweep::load(path, &self.seeds, &self.overrides)
    }

    /// Runs everything and prints the table of the runs; `results` is where, if the command line does not say.
    ///
    /// In a sweep a run that fails is recorded with its reason and the next one begins; at the end the failures
    /// are counted. Ctrl-C stops the sweep. Several processes may be at one sweep.
    pub fn run(&self, configs: &[RunConfig], results: &Path) -> Result<()> {
        let configs = unique(configs)?;
        if let (Some(tasks), Some(first)) = (self.slurm, configs.first()) {
            let words: Vec<String> = std::env::args().collect();
            let script = array_script(&first.experiment, &without_slurm(words), tasks.get());
            return Ok(write!(std::io::stdout(), "{script}")?);
        }
        let options = RunOptions {
            results: self.out.clone().unwrap_or_else(|| results.to_owned()),
            source: DataSource::new(self.data_dir.clone())?,
            model_dir: self.model_dir.clone(),
            interrupt: Interrupt::of_process()?,
            again: self.again,
            cache: self.cache_dir.clone(),
            save_encoders: !self.no_encoders,
        };
        if self.profile {
            profile::enable();
        }
        let sweep = Sweep { configs: &configs, shard: self.shard, options: &options };
        if self.list {
            return list(&sweep.missing());
        }
        let walked = sweep.walk(&say, self.profile)?;
        writeln!(std::io::stdout(), "{}", report::terminal_table(&walked.summaries)?)?;
        if walked.elsewhere > 0 {
            say(&format!("{} runs are under way in other processes", walked.elsewhere));
        }
        ensure!(
            walked.failures == 0,
            "{} of {} runs failed; fix: see each `failed` above, then give the same command again",
            walked.failures,
            walked.runs
        );
        Ok(())
    }
}

/// Runs on standard output, their number on standard error.
fn list(missing: &[&RunConfig]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for config in missing {
        writeln!(out, "{}/{}-s{}", config.experiment, config.name, config.seed)?;
    }
    say(&format!("{} runs are missing", missing.len()));
    Ok(())
}

/// Each run once: several files may describe the same one. Fails when they describe it differently.
fn unique(configs: &[RunConfig]) -> Result<Vec<RunConfig>> {
    let mut unique: Vec<RunConfig> = Vec::new();
    for config in configs {
        let key = |config: &RunConfig| (config.experiment.clone(), config.name.clone(), config.seed);
        match unique.iter().find(|other| key(other) == key(config)) {
            None => unique.push(config.clone()),
            Some(other) => ensure!(
                other == config,
                "{} seed {} is described twice, in different ways; fix: give one of them another name",
                config.name,
                config.seed
            ),
        }
    }
    Ok(unique)
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
