//! The table of `results/bench/peers.json`, which `just bench-peers` measured: ours beside other libraries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use statrs::statistics::{Data, OrderStatistics as _};

/// Where the measurements lie, relative to the root.
pub(super) const MEASUREMENTS: &str = "results/bench/peers.json";
/// The contestant that the others are compared with.
const OURS: &str = "ours";

/// What `benches/peers/run.py` writes. Every round ran every contestant once, in turns.
#[derive(Debug, Deserialize)]
struct Measurements {
    machine: Machine,
    /// What is installed beside each library.
    versions: BTreeMap<String, Vec<String>>,
    texts: String,
    /// GFLOP/s of large matrix products by library and by precision and size (`bf16 2048`).
    products: BTreeMap<String, BTreeMap<String, f64>>,
    rows: BTreeMap<String, Row>,
}

#[derive(Debug, Deserialize)]
struct Machine {
    cpu: String,
    cores: usize,
}

#[derive(Debug, Deserialize)]
struct Row {
    work: String,
    rounds: Vec<BTreeMap<String, Measured>>,
}

#[derive(Debug, Deserialize)]
struct Measured {
    sentences_per_second: f64,
    #[serde(default)]
    median_step_ms: Option<f64>,
    #[serde(default)]
    peak_memory_mib: Option<f64>,
    #[serde(default)]
    product_operations: Option<f64>,
}

/// The table as Markdown; `None` where nothing was measured.
///
/// Fails when the file is malformed or a round lacks a contestant.
pub(super) fn peers(root: &Path) -> Result<Option<String>> {
    let path = root.join(MEASUREMENTS);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| MEASUREMENTS.to_owned())?;
    let measurements: Measurements = serde_json::from_str(&text).with_context(|| MEASUREMENTS.to_owned())?;
    markdown(&measurements).with_context(|| MEASUREMENTS.to_owned()).map(Some)
}

fn markdown(measurements: &Measurements) -> Result<String> {
    let mut text = String::from(
        "| work | | rounds | sentences/s | ours / it | share of peak | peak memory, MiB |\n|---|---|--:|--:|--:|--:|--:|\n",
    );
    for (key, row) in &measurements.rows {
        let first = row.rounds.first().with_context(|| format!("{key}: no round"))?;
        ensure!(first.contains_key(OURS), "{key}: nothing of ours");
        let peers = first.keys().filter(|name| *name != OURS);
        for name in std::iter::once(&OURS.to_owned()).chain(peers) {
            let work = if name == OURS { row.work.as_str() } else { "" };
            let line = line(measurements, row, name).with_context(|| format!("{key}, {name}"))?;
            writeln!(text, "| {work} | {name} | {} | {line} |", row.rounds.len())?;
        }
    }
    let Measurements { machine, versions, texts, .. } = measurements;
    writeln!(
        text,
        "\nMedians over rounds in which all contestants of a row ran in turns, with the lowest and the highest in \
         brackets; ours / it: ratio of the medians of sentences per second, with the lowest and the highest of a round. \
         Peak: the best rate of a large matrix product that any of the libraries reached in this precision in the \
         same session; of the matrix products of ours alone. Sentences of {texts}; {}, {} cores; {}.",
        machine.cpu,
        machine.cores,
        versions
            .iter()
            .map(|(name, list)| format!("{name}: {}", list.join(", ")))
            .collect::<Vec<_>>()
            .join("; ")
    )?;
    Ok(text)
}

/// The cells of one contestant.
fn line(measurements: &Measurements, row: &Row, name: &str) -> Result<String> {
    let of = |name: &str| -> Result<Vec<&Measured>> {
        row.rounds.iter().map(|round| round.get(name).context("is missing in a round")).collect()
    };
    let (its, ours) = (of(name)?, of(OURS)?);
    let rates: Vec<f64> = its.iter().map(|measured| measured.sentences_per_second).collect();
    let our_rates: Vec<f64> = ours.iter().map(|measured| measured.sentences_per_second).collect();
    let ratio = if name == OURS {
        String::new()
    } else {
        let ratios: Vec<f64> = our_rates.iter().zip(&rates).map(|(ours, its)| ours / its).collect();
        let (lowest, highest) = range(&ratios);
        format!("**{:.2}** [{lowest:.2}, {highest:.2}]", median(&our_rates) / median(&rates))
    };
    let memory: Vec<f64> = its.iter().filter_map(|measured| measured.peak_memory_mib).collect();
    let memory = if memory.is_empty() { "—".to_owned() } else { format!("{:.0}", median(&memory)) };
    let (lowest, highest) = range(&rates);
    Ok(format!(
        "{:.1} [{lowest:.1}, {highest:.1}] | {ratio} | {} | {memory}",
        median(&rates),
        share_of_peak(measurements, row, &its)
    ))
}

/// The rate of matrix products within a step over that of large ones in the precision of the row.
fn share_of_peak(measurements: &Measurements, row: &Row, its: &[&Measured]) -> String {
    let precision = if row.work.contains("bfloat16") { "bf16" } else { "f32" };
    let rates = measurements.products.values().flatten();
    let peak =
        rates.filter(|(name, _)| name.starts_with(precision)).map(|(_, rate)| *rate).fold(0.0, f64::max);
    let achieved: Vec<f64> = its
        .iter()
        .filter_map(|measured| Some(measured.product_operations? / (measured.median_step_ms? * 1e6)))
        .collect();
    if achieved.is_empty() || peak == 0.0 {
        return "—".to_owned();
    }
    format!("{:.0} %", 100.0 * median(&achieved) / peak)
}

fn median(values: &[f64]) -> f64 {
    Data::new(values.to_vec()).median()
}

fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rounds: &str) -> Measurements {
        let text = format!(
            r#"{{"machine": {{"cpu": "a CPU", "cores": 2}}, "versions": {{"PyTorch": ["torch==1"]}}, "texts": "some text",
                "products": {{"ours": {{"f32 1024": 300, "bf16 1024": 900}}, "PyTorch": {{"f32 1024": 400}}}},
                "rows": {{"step": {{"work": "a step, float32", "rounds": [{rounds}]}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn ratios_are_those_of_the_medians_and_the_peak_is_the_best_of_all() {
        let round = |ours: f64, its: f64| {
            format!(
                r#"{{"ours": {{"sentences_per_second": {ours}, "median_step_ms": 10, "product_operations": 2e9,
                    "peak_memory_mib": 100}}, "PyTorch": {{"sentences_per_second": {its}}}}}"#
            )
        };
        let text =
            markdown(&parse(&[round(40.0, 10.0), round(30.0, 15.0), round(50.0, 20.0)].join(","))).unwrap();
        assert!(
            text.contains("| a step, float32 | ours | 3 | 40.0 [30.0, 50.0] |  | 50 % | 100 |"),
            "{text}"
        );
        assert!(
            text.contains("|  | PyTorch | 3 | 15.0 [10.0, 20.0] | **2.67** [2.00, 4.00] | — | — |"),
            "{text}"
        );
    }

    #[test]
    fn a_round_without_a_contestant_is_an_error() {
        let one = r#"{"ours": {"sentences_per_second": 1}, "PyTorch": {"sentences_per_second": 1}}"#;
        let measurements = parse(&format!(r#"{one}, {{"ours": {{"sentences_per_second": 1}}}}"#));
        let error = format!("{:#}", markdown(&measurements).unwrap_err());
        assert_eq!(error, "step, PyTorch: is missing in a round");
        assert!(markdown(&parse("")).is_err());
    }
}
