//! The command line that all experiments share.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use super::{SweepOptions, one_line, say};

/// Runs an experiment file: a single configuration, or a sweep of variants and seeds.
///
/// Runs that are finished are left alone; a run that was stopped goes on where it was.
#[derive(Debug, Parser)]
pub struct ExperimentCli {
    /// Configuration or sweep file (TOML)
    #[arg(required = true)]
    configs: Vec<PathBuf>,
    #[command(flatten)]
    options: SweepOptions,
}

impl ExperimentCli {
    /// Runs everything and prints the table of the runs: see [`SweepOptions::run`].
    pub fn run(&self) -> Result<()> {
        let mut configs = Vec::new();
        for path in &self.configs {
            configs.extend(self.options.load(path)?);
        }
        self.options.run(&configs, Path::new("out"))
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
