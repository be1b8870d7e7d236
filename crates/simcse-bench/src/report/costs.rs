//! Time and memory of trainings, as `just costs` measured them (`results/bench/costs.json`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::LoadedRun;
use super::definition::CostDefinition;
use super::encoders::{Machine, median};
use super::figure_style::number;
use super::render::escape_markdown;

/// Where the measurements lie, relative to the root.
const MEASUREMENTS: &str = "results/bench/costs.json";

#[derive(Debug, Deserialize)]
struct Measurements {
    machine: Machine,
    /// Steps of a measured training.
    steps: u64,
    runs: BTreeMap<String, Measured>,
}

/// One value for each round.
#[derive(Debug, Deserialize)]
struct Measured {
    forwards_per_second: Vec<f64>,
    peak_memory_mib: Vec<f64>,
}

/// The table; `None` where nothing was measured.
///
/// Fails when a configuration of the definition was not measured or has no run.
pub(super) fn markdown(
    root: &Path,
    definition: &CostDefinition,
    runs: &[LoadedRun],
) -> Result<Option<String>> {
    let path = root.join(MEASUREMENTS);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| MEASUREMENTS.to_owned())?;
    let measured: Measurements = serde_json::from_str(&text).with_context(|| MEASUREMENTS.to_owned())?;
    let mut text = format!(
        "**{}**\n\n| | forwards/s | times | MiB |\n|---|--:|--:|--:|\n",
        escape_markdown(&definition.title)
    );
    let mut slowest = None;
    for name in &definition.runs {
        let found = measured.runs.get(name);
        let found = found.with_context(|| format!("{name}: not in {MEASUREMENTS}; fix: just costs"))?;
        ensure!(
            !found.forwards_per_second.is_empty() && !found.peak_memory_mib.is_empty(),
            "{name}: no round in {MEASUREMENTS}; fix: just costs"
        );
        let run = runs.iter().find(|run| run.summary.name() == *name);
        let run = run.with_context(|| format!("{name}: no recorded run; fix: see [costs] of tables.toml"))?;
        let rate = median(&found.forwards_per_second);
        writeln!(
            text,
            "| {} | {} | {:.2} | {} |",
            escape_markdown(&run.summary.label),
            number(rate),
            rate / *slowest.get_or_insert(rate),
            number(median(&found.peak_memory_mib))
        )?;
    }
    writeln!(
        text,
        "\n{} Forwards/s: sentences through the encoder per second of training, median over rounds in which all trainings \
         ran in turns for {} steps; times: over that of the first row. MiB: peak memory of the process. {}, {} cores.",
        definition.note, measured.steps, measured.machine.cpu, measured.machine.cores
    )?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    fn made(measured: &str) -> Result<Option<String>> {
        let definition = CostDefinition {
            title: "Costs".to_owned(),
            note: "A note.".to_owned(),
            runs: vec!["textcnn/dropout-0.1".to_owned(), "textcnn/dropout-9".to_owned()],
        };
        let root = tempfile::tempdir().unwrap();
        if !measured.is_empty() {
            std::fs::create_dir_all(root.path().join("results/bench")).unwrap();
            let machine = r#"{"cpu": "a CPU", "cores": 2}"#;
            let text = format!(r#"{{"machine": {machine}, "steps": 60, "runs": {{{measured}}}}}"#);
            std::fs::write(root.path().join(MEASUREMENTS), text).unwrap();
        }
        let runs = [fixtures::run("dropout-0.1", 1, 0.5), fixtures::run("dropout-9", 1, 0.5)];
        markdown(root.path(), &definition, &runs)
    }

    const FIRST: &str =
        r#""textcnn/dropout-0.1": {"forwards_per_second": [900, 1100], "peak_memory_mib": [100, 102]}"#;

    #[test]
    fn medians_stand_in_the_order_of_the_definition() {
        let second = r#""textcnn/dropout-9": {"forwards_per_second": [250], "peak_memory_mib": [2000]}"#;
        let text = made(&format!("{second}, {FIRST}")).unwrap().unwrap();
        assert!(
            text.contains("| dropout 0.1 | 1,000 | 1.00 | 101 |\n| dropout 9 | 250 | 0.25 | 2,000 |\n"),
            "{text}"
        );
        assert!(
            text.contains("A note. Forwards/s")
                && text.contains(" 60 steps")
                && text.contains("a CPU, 2 cores.")
        );
        assert_eq!(made("").unwrap(), None);
    }

    #[test]
    fn what_was_not_measured_is_named() {
        let error = format!("{:#}", made(FIRST).unwrap_err());
        assert!(
            error.contains("textcnn/dropout-9: not in results/bench/costs.json; fix: just costs"),
            "{error}"
        );
    }
}
