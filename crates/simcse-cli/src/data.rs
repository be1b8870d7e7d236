//! Where data is read, the same for every subcommand.

use std::path::PathBuf;

use simcse_bench::tasks::{CHINESE_TASKS, load_task_sets};
use simcse_data::{DataSource, PairSet, Split};

use crate::say;

/// Options of every subcommand that reads data sets.
#[derive(Debug, clap::Args)]
pub(crate) struct DataOptions {
    /// Folder with data sets; without it: `data/`, the caches, the Hugging Face hub
    #[arg(long, value_name = "DIR", env = "SIMCSE_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// What is scored.
#[derive(Debug, clap::Args)]
pub(crate) struct TaskOptions {
    /// Data sets, by name or path, separated by commas
    #[arg(long, value_delimiter = ',', default_values = CHINESE_TASKS)]
    tasks: Vec<String>,
    /// Splits, separated by commas
    #[arg(long, value_delimiter = ',', default_values = ["dev", "test"])]
    splits: Vec<Split>,
}

impl DataOptions {
    /// The places to look in.
    pub(crate) fn source(&self) -> anyhow::Result<DataSource> {
        Ok(DataSource::new(self.data_dir.clone())?)
    }

    /// Loads what is to be scored; says what is missing. An error if nothing is there.
    pub(crate) fn load(&self, options: &TaskOptions) -> anyhow::Result<Vec<PairSet>> {
        let tasks: Vec<&str> = options.tasks.iter().map(String::as_str).collect();
        let found = load_task_sets(&self.source()?, &tasks, &options.splits)?;
        anyhow::ensure!(
            !found.sets.is_empty(),
            "{}",
            found
                .missing
                .first()
                .map_or("nothing to score; fix: name a task with such a split", String::as_str)
        );
        for line in &found.missing {
            say(&format!("left out: {line}"));
        }
        Ok(found.sets)
    }
}
