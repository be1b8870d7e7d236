//! The command line that all experiments share.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use simcse_data::DataSource;
use simcse_ops::profile;
use simcse_train::interrupt::Interrupt;

use super::RunOptions;
use super::{one_line, sweep};
use crate::record::Summary;
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
}

impl ExperimentCli {
    /// Runs everything and prints the table of the runs.
    ///
    /// In a sweep a run that fails is recorded with its reason and the next one begins; at the end the failures
    /// are counted. Ctrl-C stops the sweep.
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
        let mut summaries: Vec<Summary> = Vec::new();
        let mut failures = 0;
        for (number, config) in configs.iter().enumerate() {
            if options.interrupt.is_raised() {
                bail!(
                    "stopped by Ctrl-C before {} seed {}; the same command goes on from there",
                    config.name,
                    config.seed
                );
            }
            say(&format!("[{}/{}] {} seed {}", number + 1, configs.len(), config.name, config.seed));
            let result = options.run(config, &say);
            if self.profile {
                say(&profile::take().to_string());
            }
            match result {
                Ok(summary) => summaries.push(summary),
                Err(error) if options.interrupt.is_raised() || configs.len() == 1 => return Err(error),
                Err(error) => {
                    say(&format!("failed: {}", one_line(&error)));
                    failures += 1;
                }
            }
        }
        writeln!(std::io::stdout(), "{}", report::terminal_table(&summaries)?)?;
        ensure!(
            failures == 0,
            "{failures} of {} runs failed; fix: see each `failed` above, then give the same command again",
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

fn say(line: &str) {
    // A closed standard error is no reason to stop a training.
    drop(writeln!(std::io::stderr(), "{line}"));
}
