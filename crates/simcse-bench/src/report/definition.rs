//! `results/tables.toml`: which runs make which table. New experiments add tables here, not code.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::LoadedRun;
use super::published::{self, Published};
use crate::tasks::CHINESE_TASKS;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definitions {
    /// The tables, in the order of the overview.
    pub table: Vec<TableDefinition>,
    /// Tables of differences.
    #[serde(default)]
    pub comparison: Vec<ComparisonDefinition>,
    /// Encoders whose speed is measured and set against their quality.
    #[serde(default)]
    pub encoders: Option<EncoderDefinition>,
    /// Trainings whose time and memory are measured.
    #[serde(default)]
    pub costs: Option<CostDefinition>,
    /// What others published, from `published.csv` beside the file.
    #[serde(skip)]
    pub published: Vec<Published>,
}

/// One table; it is made three times, for test, dev and all splits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDefinition {
    /// Name of the files and of the markers, before `.test`, `.dev`, `.all`.
    pub name: String,
    /// Heading.
    pub title: String,
    /// A sentence below the table.
    #[serde(default)]
    pub note: Option<String>,
    /// Experiment whose runs are rows.
    pub experiment: String,
    /// Groups of runs, in this order; left out: all, in the order of their names.
    #[serde(default)]
    pub groups: Option<Vec<String>>,
    /// Configurations of the experiment that stand before the others and are rows whatever their group: what the others are to
    /// be compared with.
    #[serde(default)]
    pub first: Vec<String>,
    /// Groups of runs that are left out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Configuration and sweep files that describe its runs, relative to the root: `simcse reproduce`.
    #[serde(default)]
    pub sweeps: Vec<String>,
    /// Configurations of the experiment `baselines` that stand above, in this order.
    #[serde(default)]
    pub baselines: Vec<String>,
    /// Name of what others [`Published`] of the same settings with another encoder, a last column: to compare the shape of
    /// an effect, not its height. Its figures are of configurations.
    #[serde(default)]
    pub reference: Option<String>,
    /// Names of [`Published`] rows that stand above.
    #[serde(default)]
    pub published: Vec<String>,
    /// Whether a last column gives the average over the columns, for rows that have all of them.
    #[serde(default)]
    pub average: bool,
    /// The columns.
    pub columns: Vec<ColumnDefinition>,
}

/// A table of differences between configurations, with paired tests; it is made for test, dev and all splits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparisonDefinition {
    /// Name of the files and of the markers, before `.test`, `.dev`, `.all`.
    pub name: String,
    /// Heading.
    pub title: String,
    /// A sentence below the table.
    #[serde(default)]
    pub note: Option<String>,
    /// The rows: each is `[first, second]`, two configurations as `EXPERIMENT/CONFIG`.
    pub pairs: Vec<[String; 2]>,
    /// The columns; their average is one more.
    pub columns: Vec<ColumnDefinition>,
}

/// Encoders of recorded runs that `just encoder-speed` measures.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderDefinition {
    /// Title of the table and caption of the figure.
    pub title: String,
    /// Configurations as `EXPERIMENT/CONFIG`.
    pub runs: Vec<String>,
    /// The configuration that the others are compared with in speed.
    pub slowest: String,
    /// What quality is: columns of a table, of which the average is drawn.
    pub columns: Vec<ColumnDefinition>,
}

/// Trainings that `just costs` measures.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostDefinition {
    /// Heading.
    pub title: String,
    /// A sentence below the table.
    pub note: String,
    /// Configurations as `EXPERIMENT/CONFIG`; the first is what the others are compared with.
    pub runs: Vec<String>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnDefinition {
    /// Heading.
    pub label: String,
    /// Data set (`lcqmc`); left out: the metric is of the run as a whole (`class_accuracy`).
    #[serde(default)]
    pub task: String,
    /// Last part of the metric's name.
    #[serde(default = "spearman")]
    pub metric: String,
    /// Which value is set in bold.
    #[serde(default = "highest")]
    pub best: Best,
    /// Factor of the shown value: 100 for correlations.
    #[serde(default = "hundred")]
    pub scale: f64,
    /// Decimals of the shown value.
    #[serde(default = "one")]
    pub decimals: usize,
}

fn spearman() -> String {
    "spearman".to_owned()
}

fn highest() -> Best {
    Best::Highest
}

fn hundred() -> f64 {
    100.0
}

fn one() -> usize {
    1
}

/// Which value of a column is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Best {
    /// The highest.
    Highest,
    /// The lowest.
    Lowest,
    /// Nothing is set in bold.
    None,
}

/// Which splits a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The test split.
    Test,
    /// The dev split.
    Dev,
    /// The average over all splits, weighted by their sizes.
    All,
}

impl View {
    /// All views, in the order of the files.
    pub const ALL: [Self; 3] = [Self::Test, Self::Dev, Self::All];

    /// Name in metrics and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Dev => "dev",
            Self::All => "all",
        }
    }

    /// For people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Test => "test split",
            Self::Dev => "dev split",
            Self::All => "average over dev and test, weighted by size",
        }
    }
}

impl ColumnDefinition {
    /// Full name of the metric: `lcqmc/test/spearman`, `lcqmc/all/spearman_weighted`, `class_accuracy`.
    pub fn metric_name(&self, view: View) -> String {
        if self.task.is_empty() {
            return self.metric.clone();
        }
        let aggregation = if view == View::All { "_weighted" } else { "" };
        format!("{}/{}/{}{aggregation}", self.task, view.name(), self.metric)
    }
}

impl Definitions {
    /// Reads `tables.toml`, and `published.csv` beside it.
    ///
    /// # Errors
    /// When a file cannot be read, has an unknown key or a wrong type, or repeats or misses a name; the
    /// message names the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("{shown}: cannot be read"))?;
        let mut definitions: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            anyhow::anyhow!(
                "{shown}:{line}: {}; fix: see the comments of the file",
                error.message().replace('\n', " ")
            )
        })?;
        definitions.published = published::read(&path.with_file_name("published.csv"))?;
        definitions.check().with_context(|| shown.to_string())?;
        Ok(definitions)
    }

    fn check(&self) -> anyhow::Result<()> {
        let names = self.table.iter().map(|table| &table.name);
        let names: Vec<&String> = names.chain(self.comparison.iter().map(|table| &table.name)).collect();
        for (number, name) in names.iter().enumerate() {
            let first = names.iter().position(|other| other == name);
            ensure!(first == Some(number), "table {name:?} is defined twice");
        }
        for comparison in &self.comparison {
            ensure!(!comparison.columns.is_empty(), "comparison {:?} has no columns", comparison.name);
        }
        for table in &self.table {
            ensure!(!table.columns.is_empty(), "table {:?} has no columns", table.name);
            for name in table.published.iter().chain(&table.reference) {
                let known = self.published.iter().any(|published| published.name == *name);
                ensure!(known, "table {:?}: nothing in published.csv is named {name:?}", table.name);
            }
        }
        Ok(())
    }
}

impl TableDefinition {
    /// Whether runs of this experiment, configuration and group are rows.
    pub fn shows(&self, experiment: &str, config: &str, group: &str) -> bool {
        let of_experiment = self.experiment.is_empty() || self.experiment == experiment;
        let listed = self.groups.as_ref().is_none_or(|groups| groups.iter().any(|name| name == group));
        let left_out = self.without.iter().any(|name| name == group);
        of_experiment && (self.first.iter().any(|name| name == config) || (listed && !left_out))
    }

    /// A table of whatever these runs are: Spearman on every task that one was scored on, over all pairs
    /// together where a task has subsets.
    pub(super) fn of_runs(runs: &[LoadedRun]) -> Self {
        let names = || runs.iter().flat_map(|run| run.summary.metrics.keys());
        let mut scored: Vec<(&str, &str)> = names()
            .filter_map(|name| {
                let (task, rest) = name.split_once('/')?;
                let (_, metric) = rest.split_once('/')?;
                ["spearman", "spearman_all"].contains(&metric).then_some((task, metric))
            })
            .collect();
        // The Chinese tasks in their usual order, then the others by name.
        let place = |task: &str| {
            CHINESE_TASKS.iter().position(|chinese| *chinese == task).unwrap_or(CHINESE_TASKS.len())
        };
        scored.sort_unstable_by_key(|(task, metric)| (place(task), *task, *metric));
        scored.dedup_by_key(|(task, _)| *task);
        let column = |(task, metric): (&str, &str)| ColumnDefinition {
            label: task.to_owned(),
            task: task.to_owned(),
            metric: metric.to_owned(),
            best: Best::None,
            scale: hundred(),
            decimals: one(),
        };
        Self {
            name: "runs".to_owned(),
            title: "Spearman × 100".to_owned(),
            note: None,
            experiment: String::new(),
            groups: None,
            first: Vec::new(),
            without: Vec::new(),
            sweeps: Vec::new(),
            reference: None,
            baselines: Vec::new(),
            published: Vec::new(),
            average: false,
            columns: scored.into_iter().map(column).collect(),
        }
    }
}
