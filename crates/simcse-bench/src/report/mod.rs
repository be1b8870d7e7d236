//! Tables from recorded runs, spliced into documents.
//!
//! ```text
//! results/runs/*/*/summary.json ── runs ──► groups (one row each, checked) ──► table ──► md · csv · tex
//! results/tables.toml ─────── definition ──────────────────────────────────────┤          │
//! results/published.csv ───── published figures ───────────────────────────────┘          │
//!                                              READMEs, docs/answers.md ◄────── splice ───┘
//! ```
//! Nothing here reckons a metric: a cell is the mean of what runs recorded.

mod chart;
mod costs;
mod definition;
mod differences;
mod encoders;
mod figure_style;
mod files;
mod groups;
mod growth;
mod histograms;
mod natural_order;
mod page;
mod published;
mod render;
mod runs;
mod speed;
mod splice;
mod table;
mod trajectories;

pub use definition::{Best, ColumnDefinition, Definitions, TableDefinition, View};
pub use files::{Report, generate};
pub use histograms::{COSINES, Cosines};
pub use published::Published;
pub use runs::{LoadedRun, RunSet, load_results};
pub use table::{Cell, Row, RowKind, Table, build_table};

use crate::record::Summary;

/// The table of these runs for a terminal: one row per configuration, all tasks that any of them was scored
/// on, Spearman on test and on dev. Unlike the tables of `results/` it shows runs on the bundled sample, marked.
///
/// # Errors
/// When two runs are the same, or runs of one configuration differ in more than the seed.
pub fn terminal_table(runs: &[Summary]) -> anyhow::Result<String> {
    let runs =
        runs.iter().map(|summary| LoadedRun { directory: summary.place().into(), summary: summary.clone() });
    let runs: Vec<LoadedRun> = runs.collect();
    runs::refuse_duplicates(&runs)?;
    let definition = TableDefinition::of_runs(&runs);
    let mut text = String::new();
    for view in [View::Test, View::Dev] {
        let table = build_table(&definition, view, &runs, &[])?;
        text.push_str(&render::terminal(&table));
    }
    Ok(text)
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
