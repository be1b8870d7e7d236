//! What the page knows of the runs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::record::Status;
use crate::report::LoadedRun;
use crate::report::groups::{RunGroup, group_runs};
use crate::report::published::Published;
use crate::stats::SampleSummary;

/// Last parts of the metrics that the page shows.
const SHOWN: [&str; 6] =
    ["spearman", "spearman_all", "spearman_weighted", "spearman_all_weighted", "alignment", "uniformity"];

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct PageData {
    rows: Vec<Row>,
}

/// The runs of one configuration, or a published row.
#[derive(Debug, Serialize)]
struct Row {
    experiment: String,
    config: String,
    label: String,
    group: String,
    encoder: String,
    /// Runs that ended well.
    seeds: usize,
    /// Runs that were begun.
    tried: usize,
    transductive: bool,
    /// Where a published row stands.
    source: Option<String>,
    metrics: BTreeMap<String, Cell>,
    runs: Vec<Run>,
}

/// Mean, standard deviation and 95 % interval over seeds.
#[derive(Debug, Serialize)]
struct Cell(f64, Option<f64>, Option<f64>, Option<f64>);

/// One run.
#[derive(Debug, Serialize)]
struct Run {
    seed: u64,
    /// Relative to the page.
    folder: String,
    status: Status,
    reason: Option<String>,
    selected_step: u64,
    /// Step and mean dev Spearman.
    curve: Vec<(u64, f64)>,
    /// Of [`SHOWN`].
    metrics: BTreeMap<String, f64>,
}

impl PageData {
    pub(super) fn new(runs: &[LoadedRun], published: &[&Published]) -> Result<Self> {
        let mut rows = Vec::new();
        for group in group_runs(runs)? {
            rows.push(Row::of_runs(&group)?);
        }
        rows.extend(published.iter().map(|row| Row::of_publication(row)));
        Ok(Self { rows })
    }
}

impl Row {
    fn of_runs(group: &RunGroup<'_>) -> Result<Self> {
        let shared = group.shared();
        let names: Vec<&String> = shared_metrics(group).into_iter().filter(|name| is_shown(name)).collect();
        let cell = |name: &&String| Some(((*name).clone(), Cell::of(&group.values(name))?));
        Ok(Self {
            experiment: shared.experiment.clone(),
            config: shared.config.clone(),
            label: shared.label.clone(),
            group: shared.group.clone(),
            encoder: encoder(&group.example().directory.join("config.toml"))?,
            seeds: group.count(Status::Ok),
            tried: group.all().count(),
            transductive: shared.transductive,
            source: None,
            metrics: names.iter().filter_map(cell).collect(),
            runs: group.all().map(Run::new).collect::<Result<_>>()?,
        })
    }

    fn of_publication(row: &Published) -> Self {
        let cell = |(name, value): (&String, &f64)| (name.clone(), Cell(*value, None, None, None));
        Self {
            experiment: "published".to_owned(),
            config: row.name.clone(),
            label: row.label.clone(),
            group: "published".to_owned(),
            encoder: "published".to_owned(),
            seeds: 0,
            tried: 0,
            transductive: false,
            source: Some(row.source()),
            metrics: row.figures.iter().map(cell).collect(),
            runs: Vec::new(),
        }
    }
}

impl Cell {
    fn of(values: &[f64]) -> Option<Self> {
        let summary = SampleSummary::of(values)?;
        let interval = summary.interval();
        let (low, high) = (interval.as_ref().map(|range| range.start), interval.map(|range| range.end));
        Some(Self(summary.mean, summary.sd, low, high))
    }
}

impl Run {
    fn new(run: &LoadedRun) -> Result<Self> {
        let shown = run.summary.metrics.iter().filter(|(name, _)| is_shown(name));
        Ok(Self {
            seed: run.summary.seed,
            folder: format!("runs/{}", run.summary.place()),
            status: run.summary.status,
            reason: run.summary.reason.clone(),
            selected_step: run.summary.selected_step,
            curve: run.logged(|line| Some((line["step"].as_u64()?, line["selection"].as_f64()?)))?,
            metrics: shown.map(|(name, value)| (name.clone(), *value)).collect(),
        })
    }
}

fn is_shown(name: &str) -> bool {
    name.rsplit_once('/').is_some_and(|(_, metric)| SHOWN.contains(&metric))
}

fn shared_metrics<'a>(group: &RunGroup<'a>) -> Vec<&'a String> {
    group.successes().next().map(|summary| summary.metrics.keys().collect()).unwrap_or_default()
}

/// What is trained, in words.
fn encoder(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let config: toml::Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let Some(encoder) = config.get("encoder").and_then(toml::Value::as_table) else {
        return Ok("none".to_owned());
    };
    let text = |key: &str| encoder.get(key).and_then(toml::Value::as_str);
    Ok(match (text("checkpoint"), encoder.get("layers").and_then(toml::Value::as_integer)) {
        (Some(checkpoint), Some(layers)) => format!("{checkpoint}, {layers} layers"),
        (Some(checkpoint), None) => checkpoint.to_owned(),
        (None, _) => "TextCNN".to_owned(),
    })
}
