//! `simcse compare`: is one configuration better than another? A paired test over seeds.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use simcse_bench::record::{Status, Summary};
use simcse_bench::report::load_results;
use simcse_bench::stats::{SampleSummary, paired_t_test};

/// p below which a difference is claimed (METHODOLOGY.md).
const CLAIMED: f64 = 0.05;
/// The seed of a configuration in which nothing is random: its single run stands for any seed.
const NO_SEED: u64 = 0;

/// Compare two configurations on every metric that both have, and on the average of these: mean difference, 95 %
/// interval, paired t-test over their common seeds
#[derive(Debug, clap::Args)]
pub(crate) struct CompareCommand {
    /// EXPERIMENT/CONFIG, as the folders under results/runs are named without the seed
    first: String,
    /// EXPERIMENT/CONFIG to compare with; one with the single seed 0 (a raw encoder,
    /// character-jaccard) counts as a fixed value
    second: String,
    /// Compare the metrics whose names end so
    #[arg(long, value_name = "SUFFIX", default_value = "test/spearman")]
    metric: String,
    /// Results folder
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

impl CompareCommand {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let runs = load_results(&self.results)?.runs;
        let all: Vec<Summary> = runs.into_iter().map(|run| run.summary).collect();
        let (first, second) = (select(&all, &self.first)?, select(&all, &self.second)?);
        let names: Vec<&String> =
            first[0].metrics.keys().filter(|name| name.ends_with(&self.metric)).collect();
        ensure!(
            !names.is_empty(),
            "no metric ends with {:?}; fix: see SCHEMA.md for their names",
            self.metric
        );
        let mut out = io::stdout().lock();
        writeln!(out, "{} - {}, x 100", self.first, self.second)?;
        for name in &names {
            let pairs = pair(&first, &second, name);
            if pairs.is_empty() {
                writeln!(out, "{name}: no seed in common has it on both sides")?;
                continue;
            }
            check_same_data(&first, &second, name)?;
            writeln!(out, "{name}: {}", verdict(&pairs)?)?;
        }
        let averages = pair_averages(&first, &second, &names);
        if names.len() > 1 && !averages.is_empty() {
            writeln!(out, "average of these {}: {}", names.len(), verdict(&averages)?)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The runs of `EXPERIMENT/CONFIG` that ended well, by seed.
fn select<'a>(all: &'a [Summary], name: &str) -> Result<Vec<&'a Summary>> {
    let is_named =
        |run: &&Summary| format!("{}/{}", run.experiment, run.config) == name && run.status == Status::Ok;
    let mut runs: Vec<&Summary> = all.iter().filter(is_named).collect();
    runs.sort_by_key(|run| run.seed);
    ensure!(
        !runs.is_empty(),
        "{name}: no finished run on real data; fix: give EXPERIMENT/CONFIG of results/runs"
    );
    Ok(runs)
}

/// Values of both at each common seed; a single run with [`NO_SEED`] stands against every seed of `first`.
fn pair(first: &[&Summary], second: &[&Summary], name: &str) -> Vec<(f64, f64)> {
    let fixed = second.first().filter(|run| second.len() == 1 && run.seed == NO_SEED);
    let partner = |seed| fixed.or_else(|| second.iter().find(|run| run.seed == seed));
    let values = |run: &&Summary| Some((*run.metrics.get(name)?, *partner(run.seed)?.metrics.get(name)?));
    first.iter().filter_map(values).collect()
}

/// As [`pair`] for the average of several metrics; only seeds count that have all of them on both sides.
fn pair_averages(first: &[&Summary], second: &[&Summary], names: &[&String]) -> Vec<(f64, f64)> {
    let of_seed = |run: &&Summary| -> Option<(f64, f64)> {
        let pairs: Vec<(f64, f64)> = names.iter().flat_map(|name| pair(&[run], second, name)).collect();
        let mean = |side: fn(&(f64, f64)) -> f64| pairs.iter().map(side).sum::<f64>() / pairs.len() as f64;
        (pairs.len() == names.len()).then(|| (mean(|pair| pair.0), mean(|pair| pair.1)))
    };
    first.iter().filter_map(of_seed).collect()
}

/// Fails when the two were scored on different copies of the metric's data set, or a side mixes configurations.
fn check_same_data(first: &[&Summary], second: &[&Summary], name: &str) -> Result<()> {
    let set = name.rsplit_once('/').map_or(name, |(set, _)| set);
    let hash = first[0].evaluation_sha256.get(set);
    let same = first.iter().chain(second).all(|run| run.evaluation_sha256.get(set) == hash);
    ensure!(same, "{set}: scored on different copies; fix: run both again on the same data");
    for side in [first, second] {
        let mixed = side.iter().any(|run| run.config_sha256 != side[0].config_sha256);
        ensure!(
            !mixed,
            "{}: its seeds ran with different configurations; fix: run them again",
            side[0].config
        );
    }
    Ok(())
}

fn verdict(pairs: &[(f64, f64)]) -> Result<String> {
    let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let mean = |values: &[f64]| SampleSummary::of(values).map_or(f64::NAN, |summary| summary.mean * 100.0);
    let means = format!("{:.1} against {:.1}", mean(&first), mean(&second));
    if pairs.len() < 2 {
        return Ok(format!("{means}, one seed: no test"));
    }
    let test = paired_t_test(&first, &second)?;
    let word = match (test.p < CLAIMED, test.difference > 0.0) {
        (false, _) => "no difference can be claimed",
        (true, true) => "better",
        (true, false) => "worse",
    };
    let (low, high) = (test.interval.start * 100.0, test.interval.end * 100.0);
    let difference = test.difference * 100.0;
    Ok(format!(
        "{means}: {difference:+.1} [{low:+.1}, {high:+.1}], p = {:.2e}, n = {}: {word}",
        test.p, test.count
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.ttest_rel([.5, .52, .51], [.4, .43, .41])`: t = 29, p = .00118695; the mean difference is
    /// 0.0966667 and its 95 % interval (0.0823245, 0.1110088).
    #[test]
    fn a_clear_difference_is_claimed_with_its_interval() {
        let text = verdict(&[(0.50, 0.40), (0.52, 0.43), (0.51, 0.41)]).unwrap();
        assert_eq!(text, "51.0 against 41.3: +9.7 [+8.2, +11.1], p = 1.19e-3, n = 3: better");
    }

    #[test]
    fn a_difference_within_the_spread_is_not_claimed() {
        let text = verdict(&[(0.50, 0.49), (0.48, 0.50), (0.51, 0.50)]).unwrap();
        assert!(text.ends_with("no difference can be claimed"), "{text}");
        assert!(verdict(&[(0.5, 0.4)]).unwrap().ends_with("one seed: no test"));
    }

    fn run(seed: u64, metrics: &[(&str, f64)]) -> Summary {
        let metrics: serde_json::Map<String, serde_json::Value> =
            metrics.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        serde_json::from_value(serde_json::json!({
            "schema": 1, "experiment": "e", "config": "c", "label": "l", "group": "g", "seed": seed, "status": "ok",
            "reason": null, "transductive": false, "real_data": true, "config_sha256": "", "data_sha256": "",
            "evaluation_sha256": {}, "selected_step": 0, "steps": 0, "wall_s": 0.0, "sentences_per_s": 0.0,
            "metrics": metrics,
        }))
        .unwrap()
    }

    #[test]
    fn averages_are_of_seeds_that_have_everything() {
        let names = ["a".to_owned(), "b".to_owned()];
        let names: Vec<&String> = names.iter().collect();
        let first =
            [run(1, &[("a", 0.5), ("b", 0.75)]), run(2, &[("a", 0.25), ("b", 0.5)]), run(3, &[("a", 1.0)])];
        let first: Vec<&Summary> = first.iter().collect();
        let second = [run(1, &[("a", 0.25), ("b", 0.25)]), run(3, &[("a", 0.5), ("b", 0.5)])];
        assert_eq!(pair_averages(&first, &second.iter().collect::<Vec<_>>(), &names), [(0.625, 0.25)]);
        let fixed = run(NO_SEED, &[("a", 0.5), ("b", 0.5)]);
        assert_eq!(pair_averages(&first, &[&fixed], &names), [(0.625, 0.5), (0.375, 0.5)]);
    }
}
