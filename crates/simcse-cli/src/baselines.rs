//! `simcse baselines`: methods without training, recorded like any run.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use simcse_bench::baselines::{CHARACTER_VECTORS, record_baselines};
use simcse_bench::record::Status;
use simcse_bench::report::terminal_table;

use crate::data::DataOptions;
use crate::say;

/// Score what needs no training on dev and test, and record it as runs
#[derive(Debug, clap::Args)]
pub(crate) struct BaselinesCommand {
    /// Results folder
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// File of character vectors; without it that of the model folder, if there is one
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Folder with vectors and weights
    #[arg(long, value_name = "DIR", env = "SIMCSE_MODEL_DIR")]
    model_dir: Option<PathBuf>,
    #[command(flatten)]
    data: DataOptions,
}

impl BaselinesCommand {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let source = self.data.source()?;
        let of_models = self.model_dir.as_ref().map(|folder| folder.join(CHARACTER_VECTORS));
        let vectors = self.vectors.clone().or_else(|| of_models.filter(|path| path.is_file()));
        if vectors.is_none() {
            say("left out: mean of given character vectors; to have it, give --vectors or --model-dir");
        }
        let runs = record_baselines(&source, &self.out, vectors.as_deref())?;
        write!(io::stdout().lock(), "{}", terminal_table(&runs)?)?;
        let failed = runs.iter().filter(|run| run.status != Status::Ok).count();
        anyhow::ensure!(
            failed == 0,
            "{failed} baseline(s) failed; fix: see the reason in their summary.json"
        );
        Ok(ExitCode::SUCCESS)
    }
}
