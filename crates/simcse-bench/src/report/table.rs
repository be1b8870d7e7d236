//! The model of a table, and how it comes from runs.

use anyhow::ensure;

use super::LoadedRun;
use super::definition::{Best, ColumnDefinition, TableDefinition, View};
use super::groups::{RunGroup, group_runs};
use super::natural_order::natural_key;
use super::published::Published;
use crate::comparison::Contestants;
use crate::record::Status;
use crate::stats::SampleSummary;

/// Experiment that baselines are recorded under.
const BASELINES: &str = "baselines";

/// A table, ready to be rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Name with the view: `textcnn.test`.
    pub name: String,
    /// Heading.
    pub title: String,
    /// What the numbers are taken on.
    pub view: View,
    /// The columns; one more than in the definition if there is an average.
    pub columns: Vec<ColumnDefinition>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Sentences below.
    pub notes: Vec<String>,
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where the numbers come from.
    pub kind: RowKind,
    /// For people.
    pub label: String,
    /// One for each column; `None` is a dash.
    pub cells: Vec<Option<Cell>>,
}

/// Where the numbers of a row come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKind {
    /// The highest Spearman that scores without ties can reach on these labels.
    Ceiling,
    /// A publication.
    Published {
        /// Which.
        source: String,
    },
    /// Recorded runs.
    Runs {
        /// Their experiment.
        experiment: String,
        /// Their configuration.
        config: String,
        /// What is varied.
        group: String,
        /// Runs that ended well.
        count: usize,
        /// Runs that failed.
        failed: usize,
        /// Runs that were stopped.
        stopped: usize,
        /// Whether training saw text of an evaluation set.
        transductive: bool,
        /// Whether they were on the bundled sample.
        sample: bool,
    },
}

/// One cell, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Mean over seeds, or the published value.
    pub mean: f64,
    /// Standard deviation over seeds, if there are two or more.
    pub sd: Option<f64>,
    /// Whether it is the best of its column, and can be claimed to be better than every other row of recorded runs.
    pub best: bool,
}

/// Builds one view of a table from `runs`: the ceiling, published rows, baselines, then the runs of the
/// experiment by group and label (of every experiment, if the definition names none). `published` has what the definition
/// names; what it lacks is left out.
///
/// # Errors
/// When runs of one row differ in more than the seed, or two rows were scored on different data.
pub fn build_table(
    definition: &TableDefinition,
    view: View,
    runs: &[LoadedRun],
    published: &[Published],
) -> anyhow::Result<Table> {
    let groups = group_runs(runs)?;
    let chosen = choose(definition, &groups);
    refuse_different_data(definition, view, &chosen)?;
    let mut recorded: Vec<Row> = chosen.iter().map(|group| run_row(definition, view, group)).collect();
    mark_best(definition, view, &chosen, &mut recorded);
    let mut rows: Vec<Row> = ceiling_row(definition, view, &chosen).into_iter().collect();
    let named = |name: &String| published.iter().find(|published| published.name == *name);
    let above = definition.published.iter().filter_map(named);
    rows.extend(above.filter_map(|row| published_row(definition, view, row)));
    rows.extend(recorded);
    let mut columns = definition.columns.clone();
    if definition.average {
        columns.push(ColumnDefinition {
            label: "average".to_owned(),
            task: "average".to_owned(),
            ..columns[0].clone()
        });
    }
    let mut notes: Vec<String> = definition.note.iter().cloned().collect();
    if let Some(reference) = definition.reference.as_ref().and_then(named) {
        columns.push(add_reference(reference, &columns[0], &mut rows));
        notes.push(format!("{}: {}.", reference.label, reference.source()));
    }
    let name = format!("{}.{}", definition.name, view.name());
    Ok(Table { name, title: definition.title.clone(), view, columns, rows, notes })
}

/// Adds the published value of each row's configuration as its last cell; returns the column, shown as `like`.
fn add_reference(reference: &Published, like: &ColumnDefinition, rows: &mut [Row]) -> ColumnDefinition {
    for row in rows {
        let config = if let RowKind::Runs { config, .. } = &row.kind { config.as_str() } else { "" };
        let value = reference.figures.get(config);
        row.cells.push(value.map(|value| Cell { mean: *value, sd: None, best: false }));
    }
    ColumnDefinition {
        label: reference.label.clone(),
        task: String::new(),
        metric: "published".to_owned(),
        best: Best::None,
        ..like.clone()
    }
}

/// The groups of a table, in the order of its rows.
fn choose<'a, 'b>(definition: &TableDefinition, groups: &'b [RunGroup<'a>]) -> Vec<&'b RunGroup<'a>> {
    let baseline = |name: &String| {
        groups.iter().find(|group| group.shared().experiment == BASELINES && group.shared().config == *name)
    };
    let mut chosen: Vec<&RunGroup<'_>> = definition.baselines.iter().filter_map(baseline).collect();
    let order = |group: &str| match &definition.groups {
        Some(names) => names.iter().position(|name| name == group),
        None => Some(0),
    };
    let first = |config: &str| definition.first.iter().position(|name| name == config).unwrap_or(usize::MAX);
    let of_experiment = |group: &&RunGroup<'_>| {
        let shared = group.shared();
        definition.shows(&shared.experiment, &shared.config, &shared.group)
    };
    let mut others: Vec<&RunGroup<'_>> = groups.iter().filter(of_experiment).collect();
    others.sort_by_cached_key(|group| {
        let shared = group.shared();
        let place = (first(&shared.config), order(&shared.group), shared.group.clone());
        (place, natural_key(&shared.label), shared.config.clone())
    });
    chosen.extend(others);
    chosen
}

/// Rows of a table are compared, so they must have been scored on the same files.
fn refuse_different_data(
    definition: &TableDefinition,
    view: View,
    groups: &[&RunGroup<'_>],
) -> anyhow::Result<()> {
    for column in &definition.columns {
        let splits = if view == View::All { vec!["train", "dev", "test"] } else { vec![view.name()] };
        let hashes = |group: &RunGroup<'_>| {
            let hash = |split: &&str| {
                group.shared().evaluation_sha256.get(&format!("{}/{split}", column.task)).cloned()
            };
            splits.iter().map(hash).collect::<Vec<_>>()
        };
        let scored = |group: &&&RunGroup<'_>| !group.values(&column.metric_name(view)).is_empty();
        let mut with_value = groups.iter().filter(scored);
        let Some(first) = with_value.next() else { continue };
        for other in with_value {
            ensure!(
                hashes(first) == hashes(other),
                "{} and {} were scored on different copies of {}; fix: run one of them again on the same data",
                first.example().directory.display(),
                other.example().directory.display(),
                column.task
            );
        }
    }
    Ok(())
}

fn run_row(definition: &TableDefinition, view: View, group: &RunGroup<'_>) -> Row {
    let shared = group.shared();
    let values: Vec<Vec<f64>> =
        definition.columns.iter().map(|column| group.values(&column.metric_name(view))).collect();
    let mut cells: Vec<Option<Cell>> = values.iter().map(|values| cell(values)).collect();
    if definition.average {
        cells.push(cell(&averages(&values)));
    }
    let kind = RowKind::Runs {
        experiment: shared.experiment.clone(),
        config: shared.config.clone(),
        group: shared.group.clone(),
        count: group.count(Status::Ok),
        failed: group.count(Status::Failed),
        stopped: group.count(Status::Stopped),
        transductive: shared.transductive,
        sample: !shared.real_data,
    };
    Row { kind, label: shared.label.clone(), cells }
}

fn cell(values: &[f64]) -> Option<Cell> {
    SampleSummary::of(values).map(|summary| Cell { mean: summary.mean, sd: summary.sd, best: false })
}

/// Average over the columns, seed by seed; none unless every column has every seed.
pub(super) fn averages(columns: &[Vec<f64>]) -> Vec<f64> {
    let seeds = columns.first().map_or(0, Vec::len);
    if columns.iter().any(|values| values.len() != seeds) {
        return Vec::new();
    }
    let average = |seed: usize| columns.iter().map(|values| values[seed]).sum::<f64>() / columns.len() as f64;
    (0..seeds).map(average).collect()
}

/// A row with one value for each metric that `value` knows; `None` if it knows none.
fn fixed_row(
    definition: &TableDefinition,
    kind: RowKind,
    label: &str,
    value: impl Fn(&ColumnDefinition) -> Option<f64>,
) -> Option<Row> {
    let values: Vec<Vec<f64>> =
        definition.columns.iter().map(|column| value(column).into_iter().collect()).collect();
    if values.iter().all(Vec::is_empty) {
        return None;
    }
    let mut cells: Vec<Option<Cell>> = values.iter().map(|values| cell(values)).collect();
    if definition.average {
        cells.push(cell(&averages(&values)));
    }
    Some(Row { kind, label: label.to_owned(), cells })
}

fn published_row(definition: &TableDefinition, view: View, row: &Published) -> Option<Row> {
    let kind = RowKind::Published { source: row.source() };
    fixed_row(definition, kind, &row.label, |column| row.figures.get(&column.metric_name(view)).copied())
}

/// Every run recorded the ceiling of what it was scored on; [`refuse_different_data`] saw that it is one.
fn ceiling_row(definition: &TableDefinition, view: View, groups: &[&RunGroup<'_>]) -> Option<Row> {
    fixed_row(definition, RowKind::Ceiling, "ceiling (labels are tied)", |column| {
        let name = format!("{}_ceiling", column.metric_name(view));
        groups.iter().find_map(|group| group.values(&name).first().copied())
    })
}

/// Marks the best mean of each column where it can be claimed to be better than every other row of runs: a paired test
/// over seeds against each (METHODOLOGY.md). `rows` are those of `groups`.
fn mark_best(definition: &TableDefinition, view: View, groups: &[&RunGroup<'_>], rows: &mut [Row]) {
    let metrics: Vec<String> = definition.columns.iter().map(|column| column.metric_name(view)).collect();
    let all: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let single = definition.columns.iter().zip(all.chunks(1));
    let average = definition.average.then(|| (&definition.columns[0], all.as_slice()));
    for (index, (column, metrics)) in single.chain(average).enumerate() {
        let sign = match column.best {
            Best::Highest => 1.0,
            Best::Lowest => -1.0,
            Best::None => continue,
        };
        let with_value: Vec<usize> =
            (0..rows.len()).filter(|row| rows[*row].cells[index].is_some()).collect();
        let value = |row: &usize| rows[*row].cells[index].map_or(f64::NAN, |cell| sign * cell.mean);
        let Some(&best) = with_value.iter().max_by(|a, b| value(a).total_cmp(&value(b))) else { continue };
        let runs = |row: usize| groups[row].successes().collect::<Vec<_>>();
        let is_better = |other: &usize| {
            *other == best || Contestants::of_runs(runs(best), runs(*other)).first_is_better(metrics, sign)
        };
        let is_best = with_value.len() > 1 && with_value.iter().all(is_better);
        if let Some(cell) = &mut rows[best].cells[index] {
            cell.best = is_best;
        }
    }
}
