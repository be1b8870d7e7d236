//! The figure of `results/bench/growth.json`, which `just growth` measured: how a step grows.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use plotters::prelude::*;
use serde::Deserialize;

use super::chart::Panel;
use super::figure_style::{COLOURS, GREY};

/// Where the measurements lie, relative to the root.
const MEASUREMENTS: &str = "results/bench/growth.json";
/// One measurement.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Point {
    x: f64,
    microseconds: f64,
    memory_mib: f64,
}

type Series = BTreeMap<String, Vec<Point>>;

/// A column of the figure: what grows, and the series that show it.
struct Column {
    grows: &'static str,
    unit: &'static str,
    series: &'static [&'static str],
}

const COLUMNS: [Column; 3] = [
    Column { grows: "batch size (sentences)", unit: "µs per sentence", series: &["batch"] },
    Column { grows: "length (tokens)", unit: "µs per token", series: &["length"] },
    Column {
        grows: "classes (orange: a tenth sampled)",
        unit: "µs per sentence",
        series: &["classes", "classes, a tenth sampled"],
    },
];

/// The figure as SVG; `None` where nothing was measured.
///
/// Fails when the file is malformed or a series is missing or empty.
pub(super) fn figure(root: &Path) -> Result<Option<String>> {
    let path = root.join(MEASUREMENTS);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| MEASUREMENTS.to_owned())?;
    let series: Series = serde_json::from_str(&text).with_context(|| MEASUREMENTS.to_owned())?;
    draw(&series).with_context(|| MEASUREMENTS.to_owned()).map(Some)
}

fn draw(series: &Series) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1020, 560)).into_drawing_area();
        let panels = area.split_evenly((2, COLUMNS.len()));
        for (place, panel) in panels.iter().enumerate() {
            let column = &COLUMNS[place % COLUMNS.len()];
            let is_time = place < COLUMNS.len();
            let value = |point: &Point| if is_time { point.microseconds } else { point.memory_mib };
            let lines = column.series.iter().map(|name| {
                let points = series.get(*name).with_context(|| format!("no series {name:?}"))?;
                ensure!(!points.is_empty(), "series {name:?} is empty");
                Ok(points.iter().map(|point| (point.x, value(point))).collect())
            });
            let lines: Vec<Vec<(f64, f64)>> = lines.collect::<Result<_>>()?;
            let unit = if is_time { column.unit } else { "peak memory, MiB" };
            panel_of(panel, column.grows, unit, &lines)?;
        }
    }
    Ok(svg)
}

fn panel_of(panel: &Panel<'_>, grows: &str, unit: &str, lines: &[Vec<(f64, f64)>]) -> Result<()> {
    let points = || lines.iter().flatten();
    let bounds = |value: fn(&(f64, f64)) -> f64, low: f64, high: f64| {
        let (least, most) = points()
            .map(value)
            .fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        least * low..most * high
    };
    let mut chart = ChartBuilder::on(panel)
        .margin(12)
        .caption(unit, ("sans-serif", 15).into_font().color(&GREY))
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(
            bounds(|point| point.0, 0.8, 1.25).log_scale(),
            // From a half to twice as much at least: what is level shall look so.
            bounds(|point| point.1, 0.5, 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc(grows)
        .axis_style(GREY)
        .bold_line_style(GREY.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 12).into_font().color(&GREY))
        .x_labels(6)
        .y_labels(5)
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        chart.draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?;
        chart.draw_series(line.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let points = |slope: f64| -> Vec<Point> {
            let point = |x: f64| Point { x, microseconds: slope * x, memory_mib: 100.0 + x };
            [10.0, 100.0, 1000.0].map(point).to_vec()
        };
        let names = COLUMNS.iter().flat_map(|column| column.series);
        names.zip([1.0, 2.0, 3.0, 0.5]).map(|(name, slope)| ((*name).to_owned(), points(slope))).collect()
    }

    #[test]
    fn every_measurement_is_a_point_of_the_figure() {
        let svg = draw(&series()).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 2 * 4 * 3, "time and memory of four series");
        for column in &COLUMNS {
            assert!(svg.contains(column.grows) && svg.contains(column.unit));
        }
        assert_eq!(svg, draw(&series()).unwrap(), "the same every time");
    }

    #[test]
    fn a_series_that_is_missing_is_named() {
        let mut series = series();
        series.remove("length");
        assert_eq!(format!("{:#}", draw(&series).unwrap_err()), "no series \"length\"");
    }
}
