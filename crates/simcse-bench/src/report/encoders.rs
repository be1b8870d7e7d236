//! Quality against speed: the encoders that `just encoder-speed` measured (`results/bench/encoders.json`), as a table and a
//! figure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use plotters::prelude::*;
use serde::Deserialize;
use statrs::statistics::{Data, OrderStatistics as _};

use super::definition::{ColumnDefinition, EncoderDefinition, View};
use super::figure_style::{Experiments, GREY, number};
use super::groups::{RunGroup, group_runs};
use super::render::escape_markdown;
use super::table::averages;
use super::{LoadedRun, chart};
use crate::record::Status;
use crate::stats::SampleSummary;

/// Where the measurements lie, relative to the root.
const MEASUREMENTS: &str = "results/bench/encoders.json";

#[derive(Debug, Deserialize)]
struct Measurements {
    machine: Machine,
    texts: String,
    encoders: BTreeMap<String, Measured>,
}

/// What measured.
#[derive(Debug, Deserialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
}

#[derive(Debug, Deserialize)]
struct Measured {
    parameters: usize,
    embedding_size: usize,
    sentences_per_second: Vec<f64>,
    peak_memory_mib: Vec<f64>,
}

/// One encoder.
#[derive(Debug)]
struct Point {
    label: String,
    experiment: String,
    parameters: usize,
    embedding_size: usize,
    rate: f64,
    memory: f64,
    /// Mean over seeds for each column, then the average of the columns; fractions.
    quality: Vec<SampleSummary>,
}

/// Table and figure.
#[derive(Debug)]
pub(super) struct QualityAndSpeed {
    pub(super) markdown: String,
    pub(super) svg: String,
}

/// What was measured and recorded; `None` where nothing was measured.
///
/// Fails when an encoder of the definition was not measured or not recorded.
pub(super) fn quality_and_speed(
    root: &Path,
    definition: &EncoderDefinition,
    runs: &[LoadedRun],
) -> Result<Option<QualityAndSpeed>> {
    let path = root.join(MEASUREMENTS);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| MEASUREMENTS.to_owned())?;
    let measured: Measurements = serde_json::from_str(&text).with_context(|| MEASUREMENTS.to_owned())?;
    let groups = group_runs(runs)?;
    let point = |name: &String| point(name, definition, &measured, &groups).with_context(|| name.clone());
    let mut points: Vec<Point> = definition.runs.iter().map(point).collect::<Result<_>>()?;
    points.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    let slowest = median(&measured.of(&definition.slowest)?.sentences_per_second);
    let markdown = markdown(definition, &measured, &points, slowest)?;
    let svg = draw(definition, &points)?;
    Ok(Some(QualityAndSpeed { markdown, svg }))
}

impl Measurements {
    fn of(&self, name: &str) -> Result<&Measured> {
        let found = self.encoders.get(name);
        found.with_context(|| format!("{name}: not in {MEASUREMENTS}; fix: just encoder-speed"))
    }
}

fn point(
    name: &str,
    definition: &EncoderDefinition,
    measured: &Measurements,
    groups: &[RunGroup<'_>],
) -> Result<Point> {
    let is_named = |group: &&RunGroup<'_>| group.shared().name() == name && group.count(Status::Ok) > 0;
    let group =
        groups.iter().find(is_named).context("no finished run; fix: see [encoders] of tables.toml")?;
    let values = |column: &ColumnDefinition| group.values(&column.metric_name(View::Test));
    let columns: Vec<Vec<f64>> = definition.columns.iter().map(values).collect();
    let averages = averages(&columns);
    ensure!(
        !averages.is_empty(),
        "a run lacks one of the columns of [encoders]; fix: score all runs on them, or take the column out"
    );
    let measured = measured.of(name)?;
    ensure!(
        !measured.sentences_per_second.is_empty() && !measured.peak_memory_mib.is_empty(),
        "no round in {MEASUREMENTS}; fix: just encoder-speed"
    );
    Ok(Point {
        label: group.shared().label.clone(),
        experiment: group.shared().experiment.clone(),
        parameters: measured.parameters,
        embedding_size: measured.embedding_size,
        rate: median(&measured.sentences_per_second),
        memory: median(&measured.peak_memory_mib),
        quality: columns.iter().chain([&averages]).filter_map(|values| SampleSummary::of(values)).collect(),
    })
}

fn markdown(
    definition: &EncoderDefinition,
    measured: &Measurements,
    points: &[Point],
    slowest: f64,
) -> Result<String> {
    let labels: Vec<String> =
        definition.columns.iter().map(|column| escape_markdown(&column.label)).collect();
    let mut text = format!(
        "**{}** (test split)\n\n| | encoder | parameters | size | sentences/s | times | MiB | {} | average |\n\
         |--:|---|--:|--:|--:|--:|--:|{}\n",
        escape_markdown(&definition.title),
        labels.join(" | "),
        "--:|".repeat(labels.len() + 1)
    );
    for (place, point) in points.iter().enumerate() {
        let cells = point.quality.iter().map(|summary| match summary.sd {
            Some(sd) => format!("{:.1} ± {:.1}", 100.0 * summary.mean, 100.0 * sd),
            None => format!("{:.1}", 100.0 * summary.mean),
        });
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} | {:.0} | {} |",
            place + 1,
            escape_markdown(&point.label),
            number(point.parameters as f64),
            point.embedding_size,
            number(point.rate),
            point.rate / slowest,
            point.memory,
            cells.collect::<Vec<_>>().join(" | ")
        )?;
    }
    let Measurements { machine, texts, .. } = measured;
    writeln!(
        text,
        "\nSentences/s: from text to embedding, median over rounds in which all encoders ran in turns; times: over that of \
         the encoder {}. MiB: peak memory of the process. Texts: {texts}; {}, {} cores.",
        definition.slowest, machine.cpu, machine.cores
    )?;
    Ok(text)
}

/// Average quality over speed; every point has the number of its row in the table.
fn draw(definition: &EncoderDefinition, points: &[Point]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1020, 480)).into_drawing_area();
        let (plot, right) = area.split_horizontally(600);
        let quality = |point: &Point| 100.0 * point.quality.last().map_or(0.0, |summary| summary.mean);
        let range = |values: Vec<f64>| {
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            (low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        };
        let (slow, fast) = range(points.iter().map(|point| point.rate).collect());
        let (low, high) = range(points.iter().map(quality).collect());
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .caption(&definition.title, ("sans-serif", 15).into_font().color(&GREY))
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d((slow * 0.7..fast * 1.6).log_scale(), low - 2.0..high + 2.0)?;
        chart
            .configure_mesh()
            .x_desc("sentences per second")
            .y_desc("average Spearman × 100, test")
            .axis_style(GREY)
            .bold_line_style(GREY.mix(0.25))
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 12).into_font().color(&GREY))
            .draw()?;
        let experiments = Experiments::of(points.iter().map(|point| point.experiment.as_str()));
        let mut entries = Vec::new();
        for (place, point) in points.iter().enumerate() {
            let (colour, at) = (experiments.colour(&point.experiment), (point.rate, quality(point)));
            chart.draw_series([Circle::new(at, 4, colour.filled())])?;
            let style = ("sans-serif", 12).into_font().color(&GREY);
            let text = Text::new((place + 1).to_string(), (6, -12), style);
            chart.draw_series([EmptyElement::at(at) + text])?;
            entries.push((colour, format!("{}  {}", place + 1, point.label)));
        }
        chart::legend(&right, &entries)?;
    }
    Ok(svg)
}

pub(super) fn median(values: &[f64]) -> f64 {
    Data::new(values.to_vec()).median()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    fn definition() -> EncoderDefinition {
        toml::from_str(
            r#"title = "t"
               runs = ["textcnn/headline", "textcnn/dropout-0.1"]
               slowest = "textcnn/dropout-0.1"
               columns = [{ label = "LCQMC", task = "lcqmc" }]"#,
        )
        .unwrap()
    }

    fn measured(root: &Path, names: &[(&str, [f64; 3])]) {
        let encoder = |rates: &[f64; 3]| {
            serde_json::json!({ "parameters": 1234567, "embedding_size": 8,
                "sentences_per_second": rates, "peak_memory_mib": [100, 100, 100] })
        };
        let encoders: serde_json::Map<String, serde_json::Value> =
            names.iter().map(|(name, rates)| ((*name).to_owned(), encoder(rates))).collect();
        let report = serde_json::json!({ "machine": { "cpu": "a CPU", "cores": 2 }, "texts": "t", "encoders": encoders });
        std::fs::create_dir_all(root.join("results/bench")).unwrap();
        std::fs::write(root.join(MEASUREMENTS), report.to_string()).unwrap();
    }

    #[test]
    fn rows_go_from_fast_to_slow_and_are_points() {
        let root = tempfile::tempdir().unwrap();
        let runs: Vec<LoadedRun> = [("headline", 1, 0.5), ("headline", 2, 0.52), ("dropout-0.1", 1, 0.25)]
            .map(|(config, seed, spearman)| fixtures::run(config, seed, spearman))
            .into();
        measured(
            root.path(),
            &[("textcnn/headline", [3000.0, 1000.0, 2000.0]), ("textcnn/dropout-0.1", [100.0, 100.0, 90.0])],
        );
        let made = quality_and_speed(root.path(), &definition(), &runs).unwrap().unwrap();
        let rows: Vec<&str> = made.markdown.lines().filter(|line| line.contains("1,234,567")).collect();
        assert!(rows[0].contains("| 2,000 | 20.0 | 100 | 51.0 ± 1.4 | 51.0 ± 1.4 |"), "{}", made.markdown);
        assert!(rows[1].contains("| 100 | 1.0 | 100 | 25.0 | 25.0 |"), "{}", made.markdown);
        assert_eq!(made.svg.matches("<circle").count(), 4, "two points and their marks in the legend");
        measured(root.path(), &[("textcnn/headline", [1.0; 3])]);
        let error = format!("{:#}", quality_and_speed(root.path(), &definition(), &runs).unwrap_err());
        assert!(
            error.contains("textcnn/dropout-0.1: not in results/bench/encoders.json; fix: just"),
            "{error}"
        );
        std::fs::remove_file(root.path().join(MEASUREMENTS)).unwrap();
        assert!(quality_and_speed(root.path(), &definition(), &runs).unwrap().is_none());
    }
}
