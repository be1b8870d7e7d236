//! The figure of `results/bench/cosines.json`, which `simcse cosines` measured: how the cosines of pairs lie, by gold class (Gao et
//! al. 2021, appendix G).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::LoadedRun;
use super::chart::legend;
use super::definition::EncoderDefinition;
use super::figure_style::{COLOURS, GREY};
use crate::tasks::CosineClass;

/// Where the measurements lie, relative to the root.
pub const COSINES: &str = "results/bench/cosines.json";
const COLUMNS: usize = 4;
const PANEL: (u32, u32) = (255, 190);

/// What `simcse cosines` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cosines {
    /// The pairs: `stsb_zh/dev`.
    pub set: String,
    /// By `EXPERIMENT/CONFIG`: the first seed's encoder.
    pub encoders: BTreeMap<String, Vec<CosineClass>>,
}

impl Cosines {
    /// Reads the file; `None` where it is not.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(root: &Path) -> Result<Option<Self>> {
        let path = root.join(COSINES);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).with_context(|| COSINES.to_owned())?;
        serde_json::from_str(&text).map(Some).with_context(|| COSINES.to_owned())
    }
}

/// A panel for each encoder of the definition that was measured; `None` where none was.
pub(super) fn figure(
    root: &Path,
    definition: &EncoderDefinition,
    runs: &[LoadedRun],
) -> Result<Option<String>> {
    let Some(measured) = Cosines::read(root)? else { return Ok(None) };
    let label = |name: &String| {
        let is_named = |run: &&LoadedRun| run.summary.name() == *name;
        runs.iter().find(is_named).map_or_else(|| name.clone(), |run| run.summary.label.clone())
    };
    let found = definition.runs.iter().filter_map(|name| Some((label(name), measured.encoders.get(name)?)));
    let panels: Vec<(String, &Vec<CosineClass>)> = found.collect();
    if panels.is_empty() {
        return Ok(None);
    }
    draw(&panels).map(Some).with_context(|| COSINES.to_owned())
}

fn draw(panels: &[(String, &Vec<CosineClass>)]) -> Result<String> {
    let rows = (panels.len() + 1).div_ceil(COLUMNS);
    let mut svg = String::new();
    {
        let size = (PANEL.0 * COLUMNS as u32, PANEL.1 * rows as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let places = area.split_evenly((rows, COLUMNS));
        for ((label, classes), place) in panels.iter().zip(&places) {
            let shares: Vec<Vec<(f64, f64)>> = classes.iter().map(share).collect();
            let highest = shares.iter().flatten().map(|point| point.1).fold(0.0, f64::max);
            let mut chart = ChartBuilder::on(place)
                .margin(8)
                .caption(shortened(label), ("sans-serif", 11).into_font().color(&GREY))
                .x_label_area_size(20)
                .y_label_area_size(4)
                .build_cartesian_2d(-0.5..1.0, 0.0..highest * 1.05)?;
            chart
                .configure_mesh()
                .axis_style(GREY)
                .bold_line_style(GREY.mix(0.2))
                .light_line_style(TRANSPARENT)
                .label_style(("sans-serif", 10).into_font().color(&GREY))
                .x_labels(4)
                .y_labels(0)
                .draw()?;
            for (points, colour) in shares.into_iter().zip(COLOURS) {
                let seen = points.into_iter().filter(|point| point.0 >= -0.5);
                chart.draw_series(LineSeries::new(seen, colour.stroke_width(1)))?;
            }
        }
        if let (Some(place), Some((_, classes))) = (places.get(panels.len()), panels.first()) {
            let entries: Vec<(RGBColor, String)> = COLOURS
                .into_iter()
                .zip(classes.iter().map(|class| format!("gold {}", class.label)))
                .collect();
            legend(place, &entries)?;
        }
    }
    Ok(svg)
}

/// Share of the pairs of a class by the middle of their bin.
fn share(class: &CosineClass) -> Vec<(f64, f64)> {
    let all = class.counts.iter().sum::<u64>().max(1) as f64;
    let width = 2.0 / class.counts.len() as f64;
    let middle = |bin: usize| -1.0 + width * (bin as f64 + 0.5);
    class.counts.iter().enumerate().map(|(bin, count)| (middle(bin), *count as f64 / all)).collect()
}

/// What has room above a panel.
fn shortened(label: &str) -> String {
    let most = 42;
    if label.chars().count() <= most {
        return label.to_owned();
    }
    label.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn every_measured_encoder_is_a_panel() {
        let root = tempfile::tempdir().unwrap();
        let definition: EncoderDefinition = toml::from_str(
            "title = \"t\"\nslowest = \"textcnn/a\"\nruns = [\"textcnn/a\", \"textcnn/b\", \"textcnn/c\"]\ncolumns = []",
        )
        .unwrap();
        let runs = [fixtures::run("a", 1, 0.5)];
        assert_eq!(figure(root.path(), &definition, &runs).unwrap(), None);
        let class = |label: &str| CosineClass { label: label.to_owned(), counts: vec![0, 0, 3, 1] };
        let classes = vec![class("0"), class("1")];
        let encoders = [("textcnn/a".to_owned(), classes.clone()), ("textcnn/c".to_owned(), classes)].into();
        let cosines = Cosines { set: "stsb_zh/dev".to_owned(), encoders };
        std::fs::create_dir_all(root.path().join("results/bench")).unwrap();
        std::fs::write(root.path().join(COSINES), serde_json::to_string(&cosines).unwrap()).unwrap();
        let svg = figure(root.path(), &definition, &runs).unwrap().unwrap();
        assert!(svg.contains("textcnn/c") && !svg.contains("textcnn/b"), "{svg}");
        assert!(svg.contains("gold 1"), "the legend names the classes");
    }

    #[test]
    fn shares_are_of_the_class() {
        let class = CosineClass { label: "0".to_owned(), counts: vec![0, 0, 3, 1] };
        assert_eq!(share(&class), [(-0.75, 0.0), (-0.25, 0.0), (0.25, 0.75), (0.75, 0.25)]);
    }
}
