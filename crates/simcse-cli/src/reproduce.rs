//! `simcse reproduce`: the runs that a table needs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use simcse_bench::config::RunConfig;
use simcse_bench::experiment::SweepOptions;
use simcse_bench::report::{Definitions, TableDefinition};

/// Run what tables of results/tables.toml need and what has not been run yet; `simcse report` then makes the tables.
/// Baselines are made by `simcse baselines`. A student of a recorded run needs its encoder, which is not in git: where only the
/// record is there, run the teacher with --again
#[derive(Debug, clap::Args)]
pub(crate) struct ReproduceCommand {
    /// Names of tables, or `all`
    #[arg(required = true)]
    tables: Vec<String>,
    /// Root of the repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    #[command(flatten)]
    options: SweepOptions,
}

impl ReproduceCommand {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let definitions = Definitions::read(&self.root.join("results/tables.toml"))?;
        let mut configs: Vec<RunConfig> = Vec::new();
        for table in self.wanted(&definitions)? {
            for sweep in &table.sweeps {
                let found = self.options.load(&self.root.join(sweep))?;
                let shown = |config: &RunConfig| table.shows(&config.experiment, &config.name, &config.group);
                configs.extend(found.into_iter().filter(shown));
            }
        }
        ensure!(
            !configs.is_empty(),
            "no run is described; fix: give the tables `sweeps` in results/tables.toml"
        );
        self.options.run(&configs, &self.root.join("results"))?;
        Ok(ExitCode::SUCCESS)
    }

    fn wanted<'a>(&self, definitions: &'a Definitions) -> Result<Vec<&'a TableDefinition>> {
        if self.tables.iter().any(|name| name == "all") {
            return Ok(definitions.table.iter().collect());
        }
        let find = |name: &String| {
            let names: Vec<&str> = definitions.table.iter().map(|table| table.name.as_str()).collect();
            let found = definitions.table.iter().find(|table| table.name == *name);
            found.with_context(|| format!("no table {name:?}; fix: give one of {}", names.join(", ")))
        };
        self.tables.iter().map(find).collect()
    }
}
