//! `simcse verify`: do the figures of a recorded run come out again?

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use simcse_bench::experiment::RunOptions;
use simcse_bench::record::find_run;
use simcse_bench::verify::{Difference, Method, Verification, verify};
use simcse_train::interrupt::Interrupt;

use crate::data::DataOptions;
use crate::say;

/// Score the recorded encoder of a run again, or repeat the run, and say whether every figure comes out again
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyCommand {
    /// Runs: EXPERIMENT/CONFIG-sSEED below the results folder, or their directories
    #[arg(required = true)]
    runs: Vec<String>,
    /// Repeat the run even where its encoder is there
    #[arg(long)]
    train: bool,
    /// Figures that differ by no more count as the same: a fraction, so 0.0001 is a hundredth of a point. Another
    /// processor sums in another order
    #[arg(long, value_name = "X", default_value_t = 1e-4)]
    tolerance: f64,
    /// Results folder
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Folder with vectors and weights
    #[arg(long, value_name = "DIR", env = "SIMCSE_MODEL_DIR")]
    model_dir: Option<PathBuf>,
    /// Folder that keeps embeddings of untrained encoders
    #[arg(long, value_name = "DIR", env = "SIMCSE_CACHE_DIR")]
    cache_dir: Option<PathBuf>,
    #[command(flatten)]
    data: DataOptions,
}

impl VerifyCommand {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        ensure!(self.tolerance >= 0.0, "--tolerance {}; fix: give 0 or more", self.tolerance);
        let options = RunOptions {
            results: self.results.clone(),
            source: self.data.source()?,
            model_dir: self.model_dir.clone(),
            interrupt: Interrupt::of_process()?,
            again: false,
            cache: self.cache_dir.clone(),
            save_encoders: false,
        };
        let mut failures = 0;
        for name in &self.runs {
            let directory = find_run(&self.results, name).with_context(|| {
                format!(
                    "{name}: no finished run; fix: give EXPERIMENT/CONFIG-sSEED of {}",
                    self.results.display()
                )
            })?;
            let found = verify(&directory, &options, self.train, self.tolerance, &say);
            let found = found.with_context(|| name.clone())?;
            let mut out = io::stdout().lock();
            writeln!(out, "{name}: {}", in_words(&found))?;
            for difference in &found.differences {
                writeln!(out, "  {}", line(difference))?;
            }
            failures += usize::from(!found.differences.is_empty());
        }
        ensure!(
            failures == 0,
            "{failures} of {} run(s) have figures that do not come out again; fix: see the lines above, then run them \
             again",
            self.runs.len()
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn in_words(found: &Verification) -> String {
    let how = match found.method {
        Method::Scored => "scored again",
        Method::Trained => "trained again",
    };
    let mut text = format!("{how}: {} figures are the same to the last bit", found.exact);
    if found.near > 0 {
        text.push_str(&format!(", {} differ by at most {:.1e}", found.near, found.largest));
    }
    if !found.differences.is_empty() {
        text.push_str(&format!(", {} DIFFER", found.differences.len()));
    }
    if !found.not_scored.is_empty() {
        text.push_str(&format!("; only --train can tell: {}", found.not_scored.join(", ")));
    }
    if !found.not_recorded.is_empty() {
        text.push_str(&format!("; not in the record: {}", found.not_recorded.join(", ")));
    }
    text
}

fn line(difference: &Difference) -> String {
    let found = difference.found.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
    format!("{}: recorded {}, now {found}", difference.metric, difference.recorded)
}
