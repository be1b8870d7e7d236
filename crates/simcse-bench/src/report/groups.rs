//! Runs that differ in the seed alone, as one row.

use std::collections::BTreeMap;

use anyhow::ensure;

use super::LoadedRun;
use crate::record::{Status, Summary};

/// The runs of one configuration.
#[derive(Debug, Clone)]
pub(super) struct RunGroup<'a> {
    /// In order of the seed.
    runs: Vec<&'a LoadedRun>,
}

/// Groups runs by experiment and configuration.
///
/// # Errors
/// When runs of a group differ in configuration, data, or what a row says of them; the message names both.
pub(super) fn group_runs(runs: &[LoadedRun]) -> anyhow::Result<Vec<RunGroup<'_>>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&LoadedRun>> = BTreeMap::new();
    for run in runs {
        groups.entry((&run.summary.experiment, &run.summary.config)).or_default().push(run);
    }
    let mut checked = Vec::new();
    for mut runs in groups.into_values() {
        runs.sort_by_key(|run| run.summary.seed);
        for other in &runs[1..] {
            refuse_mixture(runs[0], other)?;
        }
        checked.push(RunGroup { runs });
    }
    Ok(checked)
}

/// Runs of one row must be repetitions of one thing.
fn refuse_mixture(first: &LoadedRun, other: &LoadedRun) -> anyhow::Result<()> {
    let (a, b) = (&first.summary, &other.summary);
    let same = [
        ("config_sha256", a.config_sha256 == b.config_sha256),
        ("data_sha256", a.data_sha256 == b.data_sha256),
        ("evaluation_sha256", a.evaluation_sha256 == b.evaluation_sha256),
        ("label", a.label == b.label),
        ("group", a.group == b.group),
        ("transductive", a.transductive == b.transductive),
        ("real_data", a.real_data == b.real_data),
    ];
    for (field, equal) in same {
        ensure!(
            equal,
            "{} and {} differ in {field}, so they are no one row; fix: run both again, or rename one configuration",
            first.directory.display(),
            other.directory.display()
        );
    }
    Ok(())
}

impl<'a> RunGroup<'a> {
    /// What all runs of the group share.
    pub(super) fn shared(&self) -> &'a Summary {
        &self.runs[0].summary
    }

    /// One of the runs, for messages.
    pub(super) fn example(&self) -> &'a LoadedRun {
        self.runs[0]
    }

    /// All of them, however they ended, in order of the seed.
    pub(super) fn all(&self) -> impl Iterator<Item = &'a LoadedRun> {
        self.runs.iter().copied()
    }

    /// How many ended so.
    pub(super) fn count(&self, status: Status) -> usize {
        self.runs.iter().filter(|run| run.summary.status == status).count()
    }

    /// The runs that ended well.
    pub(super) fn successes(&self) -> impl Iterator<Item = &'a Summary> {
        self.runs.iter().map(|run| &run.summary).filter(|summary| summary.status == Status::Ok)
    }

    /// The values of a metric over the seeds that ended well; none unless every one of them has it.
    pub(super) fn values(&self, metric: &str) -> Vec<f64> {
        let values: Option<Vec<f64>> =
            self.successes().map(|summary| summary.metrics.get(metric).copied()).collect();
        values.unwrap_or_default()
    }
}
