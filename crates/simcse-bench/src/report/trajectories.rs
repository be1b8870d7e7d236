//! Figures of how encoders were trained: alignment against uniformity (Gao et al. 2021, figures 2 and 3), and dev scores over
//! steps.

use anyhow::Result;
use plotters::prelude::*;

use super::LoadedRun;
use super::chart::{self, Series};
use super::figure_style::Experiments;
use super::groups::{RunGroup, group_runs};
use crate::record::Status;

/// The two languages' STS-B: what the panels show.
const TASKS: [(&str, &str); 2] = [("stsb_zh", "STS-B zh, dev"), ("stsb", "STS-B, dev")];

/// Alignment over uniformity of every configuration, mean over seeds; a line is the path of its first seed from step 0, where
/// the log has it. The configurations of `named` have a number and stand in the legend.
pub(super) fn geometry(runs: &[LoadedRun], named: &[String]) -> Result<String> {
    let groups = group_runs(runs)?;
    let experiments = Experiments::of(groups.iter().map(|group| group.shared().experiment.as_str()));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1020, 640)).into_drawing_area();
        let (panels, below) = area.split_vertically(400);
        for (panel, (task, caption)) in panels.split_evenly((1, 2)).iter().zip(TASKS) {
            let mut series = Vec::new();
            for group in &groups {
                series.extend(of_group(group, task, named, &experiments)?);
            }
            if !series.is_empty() {
                let axes = ("uniformity (lower is better)", "alignment (lower is better)");
                chart::draw(panel, caption, axes, &series)?;
            }
        }
        let (left, right) = below.split_horizontally(260);
        chart::legend(&left, &experiments.legend())?;
        chart::legend(&right, &numbered(&groups, named, &experiments))?;
    }
    Ok(svg)
}

/// Mean dev Spearman over the share of the steps done, of the first seed of each configuration of `named`; the dot is the
/// selected step.
pub(super) fn curves(runs: &[LoadedRun], named: &[String]) -> Result<String> {
    let groups = group_runs(runs)?;
    let experiments = Experiments::of(groups.iter().map(|group| group.shared().experiment.as_str()));
    let mut series = Vec::new();
    for (number, group) in in_order(&groups, named) {
        let Some(run) = first(group) else { continue };
        let steps = run.summary.steps as f64;
        let selected = run.summary.selected_step as f64;
        let points: Vec<(f64, f64)> = run
            .logged(|line| Some((line["step"].as_f64()?, line["selection"].as_f64()?)))?
            .into_iter()
            .map(|(step, score)| (100.0 * step / steps, 100.0 * score))
            .collect();
        let Some(mark) = points.iter().find(|point| point.0 == 100.0 * selected / steps).copied() else {
            continue;
        };
        let colour = experiments.colour(&group.shared().experiment);
        series.push(Series { points, mark, text: number.to_string(), colour });
    }
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1020, 420)).into_drawing_area();
        let (panel, right) = area.split_horizontally(600);
        if !series.is_empty() {
            let axes = ("steps done, %", "mean Spearman × 100 on what selects");
            chart::draw(&panel, "dev scores during training, and the selected step", axes, &series)?;
        }
        chart::legend(&right, &numbered(&groups, named, &experiments))?;
    }
    Ok(svg)
}

fn of_group(
    group: &RunGroup<'_>,
    task: &str,
    named: &[String],
    experiments: &Experiments<'_>,
) -> Result<Option<Series>> {
    let (across, up) = (format!("{task}/dev/uniformity"), format!("{task}/dev/alignment"));
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let (uniformity, alignment) = (group.values(&across), group.values(&up));
    if uniformity.is_empty() || alignment.is_empty() {
        return Ok(None);
    }
    let points = match first(group) {
        Some(run) => run.logged(|line| Some((line[&across].as_f64()?, line[&up].as_f64()?)))?,
        None => Vec::new(),
    };
    let text = position(group, named).map(|number| number.to_string()).unwrap_or_default();
    let mark = (mean(uniformity), mean(alignment));
    Ok(Some(Series { points, mark, text, colour: experiments.colour(&group.shared().experiment) }))
}

/// The first run that ended well.
fn first<'a>(group: &RunGroup<'a>) -> Option<&'a LoadedRun> {
    group.all().find(|run| run.summary.status == Status::Ok)
}

/// The number of a configuration among the named ones, from 1.
fn position(group: &RunGroup<'_>, named: &[String]) -> Option<usize> {
    let name = group.shared().name();
    named.iter().position(|other| *other == name).map(|place| place + 1)
}

fn in_order<'a, 'b>(groups: &'b [RunGroup<'a>], named: &[String]) -> Vec<(usize, &'b RunGroup<'a>)> {
    let mut found: Vec<(usize, &RunGroup<'_>)> =
        groups.iter().filter_map(|group| Some((position(group, named)?, group))).collect();
    found.sort_by_key(|(number, _)| *number);
    found
}

fn numbered(
    groups: &[RunGroup<'_>],
    named: &[String],
    experiments: &Experiments<'_>,
) -> Vec<(RGBColor, String)> {
    let entry = |(number, group): (usize, &RunGroup<'_>)| {
        (experiments.colour(&group.shared().experiment), format!("{number}  {}", group.shared().label))
    };
    in_order(groups, named).into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::report::fixtures;

    fn recorded(root: &Path, config: &str, log: &str) -> LoadedRun {
        let mut run = fixtures::run(config, 1, 0.5);
        run.directory = root.join(format!("runs/textcnn/{config}-s1"));
        run.summary.steps = 100;
        run.summary.selected_step = 50;
        for (name, value) in [("uniformity", -2.0), ("alignment", 0.25)] {
            run.summary.metrics.insert(format!("stsb_zh/dev/{name}"), value);
        }
        fixtures::write(root, &run);
        std::fs::write(run.directory.join("metrics.jsonl"), log).unwrap();
        run
    }

    const LOG: &str = r#"{"step":0,"selection":0.2,"stsb_zh/dev/uniformity":-1.0,"stsb_zh/dev/alignment":0.5}
{"step":20,"loss":1.0}
{"step":50,"selection":0.4,"stsb_zh/dev/uniformity":-1.5,"stsb_zh/dev/alignment":0.3}
{"step":100,"selection":0.3,"stsb_zh/dev/uniformity":-2.0,"stsb_zh/dev/alignment":0.25}
"#;

    #[test]
    fn every_configuration_is_a_point_and_a_named_one_has_its_number() {
        let root = tempfile::tempdir().unwrap();
        let runs = [recorded(root.path(), "headline", LOG), recorded(root.path(), "other", "")];
        let svg = geometry(&runs, &["textcnn/headline".to_owned()]).unwrap();
        assert_eq!(
            svg.matches("<circle").count(),
            2 + 1 + 1,
            "two points, an experiment, a named configuration"
        );
        assert_eq!(svg.matches("<polyline").count() - svg_axes(&svg), 1, "one path");
        assert!(svg.contains("1  headline") && !svg.contains("other"), "{svg}");
    }

    #[test]
    fn a_curve_has_a_dot_at_the_selected_step() {
        let root = tempfile::tempdir().unwrap();
        let runs = [recorded(root.path(), "headline", LOG), recorded(root.path(), "other", LOG)];
        let svg = curves(&runs, &["textcnn/headline".to_owned()]).unwrap();
        assert_eq!(svg.matches("<circle").count(), 2, "the selected step and the legend");
        std::fs::write(runs[0].directory.join("metrics.jsonl"), "no JSON").unwrap();
        assert!(
            format!("{:#}", curves(&runs, &["textcnn/headline".to_owned()]).unwrap_err())
                .contains("metrics.jsonl")
        );
    }

    /// Lines of axes and their ticks: grey.
    fn svg_axes(svg: &str) -> usize {
        svg.split("<polyline")
            .skip(1)
            .filter(|line| line.split("/>").next().is_some_and(|line| line.contains("#808080")))
            .count()
    }
}
