//! Is one configuration better than another? A paired test over seeds.

use anyhow::{Result, ensure};

use super::Verdict;
use crate::record::{Status, Summary};
use crate::stats::{PairedTTest, SampleSummary, paired_t_test};

/// The seed of a configuration in which nothing is random: its single run stands for any seed.
const NO_SEED: u64 = 0;

/// Two configurations on one metric, or on the average of several.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Means over the seeds that both have, fractions.
    pub means: (f64, f64),
    /// Seeds that both have.
    pub count: usize,
    /// `None` with one seed, and where no seed makes a difference.
    pub test: Option<PairedTTest>,
}

impl Comparison {
    /// What can be said of the first configuration, where a higher value is better.
    pub fn verdict(&self) -> Verdict {
        match &self.test {
            None => Verdict::Untested,
            Some(test) => Verdict::of(test.difference, test.p),
        }
    }

    fn of(pairs: &[(f64, f64)]) -> Self {
        let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let mean = |values: &[f64]| SampleSummary::of(values).map_or(f64::NAN, |summary| summary.mean);
        // No test with one seed, and none where all differences are the same: nothing in the two is random.
        let test = paired_t_test(&first, &second).ok();
        Self { means: (mean(&first), mean(&second)), count: pairs.len(), test }
    }
}

/// The runs of two configurations that ended well, in the order of their seeds.
#[derive(Debug)]
pub struct Contestants<'a> {
    first: Vec<&'a Summary>,
    second: Vec<&'a Summary>,
}

impl<'a> Contestants<'a> {
    /// Two configurations, each as `EXPERIMENT/CONFIG`. One with the single seed 0 (a raw encoder, character-jaccard)
    /// counts as a fixed value on the second side.
    ///
    /// Fails when one has no finished run on real data, or mixes configurations.
    pub fn select(all: &[&'a Summary], first: &str, second: &str) -> Result<Self> {
        Ok(Self { first: select(all, first)?, second: select(all, second)? })
    }

    /// Two configurations by their runs that ended well, in the order of their seeds.
    pub fn of_runs(first: Vec<&'a Summary>, second: Vec<&'a Summary>) -> Self {
        Self { first, second }
    }

    /// Whether the first can be claimed to be better on the average of these metrics: `sign` is 1 where higher values are
    /// better, -1 where lower ones are. A configuration with the single seed 0 is a fixed value on either side.
    pub fn first_is_better(&self, metrics: &[&str], sign: f64) -> bool {
        let is_fixed = |runs: &[&Summary]| runs.len() == 1 && runs[0].seed == NO_SEED;
        let (first, second, sign) = match is_fixed(&self.first) {
            true => (&self.second, &self.first, -sign),
            false => (&self.first, &self.second, sign),
        };
        let turned = Self { first: first.clone(), second: second.clone() };
        // Where no test can be made, nothing can be claimed.
        let Ok(Some(comparison)) = turned.compare_average(metrics) else { return false };
        match comparison.verdict() {
            Verdict::Better => sign > 0.0,
            Verdict::Worse => sign < 0.0,
            Verdict::Open | Verdict::Untested => false,
        }
    }

    /// Labels of the two for people.
    pub fn labels(&self) -> (&'a str, &'a str) {
        (&self.first[0].label, &self.second[0].label)
    }

    /// The metrics of the first whose names end so.
    pub fn metrics(&self, suffix: &str) -> Vec<&'a str> {
        let names = self.first[0].metrics.keys().map(String::as_str);
        names.filter(|name| name.ends_with(suffix)).collect()
    }

    /// The two on one metric; `None` where no seed in common has it on both sides.
    ///
    /// Fails when they were scored on different copies of its data.
    pub fn compare(&self, metric: &str) -> Result<Option<Comparison>> {
        self.compare_average(&[metric])
    }

    /// The two on the average of several metrics; only seeds count that have all of them on both sides.
    ///
    /// Fails as [`Contestants::compare`].
    pub fn compare_average(&self, metrics: &[&str]) -> Result<Option<Comparison>> {
        let pairs: Vec<(f64, f64)> =
            self.first.iter().filter_map(|run| self.averages_of(run, metrics)).collect();
        if pairs.is_empty() {
            return Ok(None);
        }
        for metric in metrics {
            self.check_same_data(metric)?;
        }
        Ok(Some(Comparison::of(&pairs)))
    }

    /// The averages at a run of the first side, and at the run of the second with its seed.
    fn averages_of(&self, run: &Summary, metrics: &[&str]) -> Option<(f64, f64)> {
        let fixed = self.second.first().filter(|run| self.second.len() == 1 && run.seed == NO_SEED);
        let partner = fixed.or_else(|| self.second.iter().find(|other| other.seed == run.seed))?;
        let average = |of: &Summary| {
            let values: Option<Vec<f64>> =
                metrics.iter().map(|metric| of.metrics.get(*metric).copied()).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        Some((average(run)?, average(partner)?))
    }

    /// Fails unless both were scored on the same files.
    fn check_same_data(&self, metric: &str) -> Result<()> {
        let set = metric.rsplit_once('/').map_or(metric, |(set, _)| set);
        // `lcqmc/all` is made of the splits.
        let sets = match set.strip_suffix("/all") {
            Some(task) => vec![format!("{task}/train"), format!("{task}/dev"), format!("{task}/test")],
            None => vec![set.to_owned()],
        };
        for set in sets {
            let hash = self.first[0].evaluation_sha256.get(&set);
            let mut runs = self.first.iter().chain(&self.second);
            let same = runs.all(|run| run.evaluation_sha256.get(&set) == hash);
            ensure!(same, "{set}: scored on different copies; fix: run both again on the same data");
        }
        Ok(())
    }
}

/// The runs of `EXPERIMENT/CONFIG` that ended well, by seed.
fn select<'a>(all: &[&'a Summary], name: &str) -> Result<Vec<&'a Summary>> {
    let is_named = |run: &&&Summary| run.name() == name && run.status == Status::Ok;
    let mut runs: Vec<&Summary> = all.iter().filter(is_named).copied().collect();
    runs.sort_by_key(|run| run.seed);
    ensure!(
        !runs.is_empty(),
        "{name}: no finished run on real data; fix: give EXPERIMENT/CONFIG of results/runs"
    );
    let mixed = runs.iter().any(|run| run.config_sha256 != runs[0].config_sha256);
    ensure!(!mixed, "{name}: its seeds ran with different configurations; fix: run them again");
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: &str, seed: u64, metrics: &[(&str, f64)]) -> Summary {
        let metrics: serde_json::Map<String, serde_json::Value> =
            metrics.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        serde_json::from_value(serde_json::json!({
            "schema": 1, "experiment": "e", "config": config, "label": "l", "group": "g", "seed": seed, "status": "ok",
            "reason": null, "transductive": false, "real_data": true, "config_sha256": "", "data_sha256": "",
            "evaluation_sha256": {}, "selected_step": 0, "steps": 0, "wall_s": 0.0, "sentences_per_s": 0.0,
            "metrics": metrics,
        }))
        .unwrap()
    }

    fn compared(pairs: &[(f64, f64)]) -> Comparison {
        Comparison::of(pairs)
    }

    /// `scipy.stats.ttest_rel([.5, .52, .51], [.4, .43, .41])`: t = 29, p = .00118695; the mean difference is
    /// 0.0966667 and its 95 % interval (0.0823245, 0.1110088).
    #[test]
    fn a_clear_difference_is_claimed_with_its_interval() {
        let comparison = compared(&[(0.50, 0.40), (0.52, 0.43), (0.51, 0.41)]);
        let test = comparison.test.clone().unwrap();
        assert!((test.p - 0.001_186_95).abs() < 1e-8 && (test.interval.start - 0.082_324_5).abs() < 1e-7);
        assert_eq!((comparison.verdict(), comparison.count), (Verdict::Better, 3));
        assert_eq!(
            compared(&[(0.40, 0.50), (0.43, 0.52), (0.41, 0.51)]).verdict(),
            Verdict::Worse,
            "the other way round"
        );
    }

    #[test]
    fn a_difference_within_the_spread_is_not_claimed() {
        assert_eq!(compared(&[(0.50, 0.49), (0.48, 0.50), (0.51, 0.50)]).verdict(), Verdict::Open);
        assert_eq!(compared(&[(0.5, 0.4)]).verdict(), Verdict::Untested);
        assert_eq!(compared(&[(0.5, 0.4), (0.5, 0.4)]).verdict(), Verdict::Untested, "nothing is random");
    }

    #[test]
    fn averages_are_of_seeds_that_have_everything() {
        let runs = [
            run("a", 1, &[("a", 0.5), ("b", 0.75)]),
            run("a", 2, &[("a", 0.25), ("b", 0.5)]),
            run("a", 3, &[("a", 1.0)]),
            run("b", 1, &[("a", 0.25), ("b", 0.25)]),
            run("b", 3, &[("a", 0.5), ("b", 0.5)]),
            run("fixed", NO_SEED, &[("a", 0.5), ("b", 0.5)]),
        ];
        let all: Vec<&Summary> = runs.iter().collect();
        let means = |second: &str| {
            let contestants = Contestants::select(&all, "e/a", second).unwrap();
            let comparison = contestants.compare_average(&["a", "b"]).unwrap().unwrap();
            (comparison.means, comparison.count)
        };
        assert_eq!(means("e/b"), ((0.625, 0.25), 1));
        assert_eq!(means("e/fixed"), ((0.5, 0.5), 2));
        assert!(Contestants::select(&all, "e/a", "e/none").is_err());
        let better = |first: &str, second: &str, sign: f64| {
            Contestants::select(&all, first, second).unwrap().first_is_better(&["a"], sign)
        };
        assert!(!better("e/a", "e/b", 1.0), "two seeds that differ too much");
        assert!(!better("e/fixed", "e/fixed", 1.0), "no test");
        let contestants = Contestants::select(&all, "e/a", "e/b").unwrap();
        assert_eq!(contestants.compare("c").unwrap(), None);
    }

    #[test]
    fn different_copies_of_a_set_are_not_compared_nor_are_averages_over_its_splits() {
        let mut runs = [
            run("a", 1, &[("x/test/m", 0.5), ("x/all/m", 0.5)]),
            run("b", 1, &[("x/test/m", 0.5), ("x/all/m", 0.5)]),
        ];
        for (run, hash) in runs.iter_mut().zip(["one", "other"]) {
            run.evaluation_sha256.insert("x/test".to_owned(), hash.to_owned());
        }
        let contestants = Contestants::select(&[&runs[0], &runs[1]], "e/a", "e/b").unwrap();
        for metric in ["x/test/m", "x/all/m"] {
            let error = contestants.compare(metric).unwrap_err().to_string();
            assert!(error.starts_with("x/test: scored on different copies; fix: "), "{error}");
        }
    }
}
