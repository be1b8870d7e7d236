//! `simcse report`: tables from recorded runs.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use simcse_bench::report::generate;

/// Rebuild every table of results/ from results/runs, and splice them into README.md and results/README.md
#[derive(Debug, clap::Args)]
pub(crate) struct ReportCommand {
    /// Write nothing; name the files that are stale and exit with 1 if there are any
    #[arg(long)]
    check: bool,
    /// Root of the repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
}

impl ReportCommand {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let root = &self.root;
        ensure!(
            root.join("results/tables.toml").is_file(),
            "{}: no results/tables.toml; fix: run in the root of the repository, or give --root",
            root.display()
        );
        let report = generate(root)?;
        let paths = if self.check { report.stale()? } else { report.write()? };
        let mut out = io::stdout().lock();
        let what = if self.check { "stale" } else { "written" };
        for path in &paths {
            writeln!(out, "{what}: {}", path.display())?;
        }
        for remark in &report.remarks {
            writeln!(out, "{remark}")?;
        }
        if self.check && !paths.is_empty() {
            anyhow::bail!("{} stale file(s) under {}; fix: run `just tables`", paths.len(), root.display());
        }
        writeln!(out, "{} files are fresh", report.files.len())?;
        Ok(ExitCode::SUCCESS)
    }
}
