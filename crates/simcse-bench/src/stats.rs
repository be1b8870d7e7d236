//! Means over seeds, and when a difference counts.

use std::ops::Range;

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use rayon::prelude::*;
use simcse_random::Stream;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Mean and spread of one metric over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleSummary {
    /// Number of values.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (divisor `n - 1`); `None` for a single value.
    pub sd: Option<f64>,
}

impl SampleSummary {
    /// Summarises values; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (count > 1).then(|| (squares / (count as f64 - 1.0)).sqrt());
        Some(Self { count, mean, sd })
    }

    /// 95 % confidence interval of the mean, by Student's t; `None` for a single value.
    pub fn interval(&self) -> Option<Range<f64>> {
        let student = StudentsT::new(0.0, 1.0, self.count as f64 - 1.0).ok()?;
        let half = student.inverse_cdf(0.975) * self.sd? / (self.count as f64).sqrt();
        Some(self.mean - half..self.mean + half)
    }
}

/// Result of [`paired_t_test`].
#[derive(Debug, Clone, PartialEq)]
pub struct PairedTTest {
    /// Mean of `first - second`.
    pub difference: f64,
    /// Student's t with `count - 1` degrees of freedom.
    pub t: f64,
    /// Two-sided probability of a t at least as large if there were no difference.
    pub p: f64,
    /// 95 % confidence interval of the difference.
    pub interval: Range<f64>,
    /// Number of seeds.
    pub count: usize,
}

/// Two-sided paired t-test: the values of two configurations at the same seeds, in the same order. As
/// `scipy.stats.ttest_rel`.
///
/// # Errors
/// When the lengths differ, there are fewer than two seeds, or all differences are equal (a deterministic
/// method has no spread over seeds; use [`paired_bootstrap`]).
pub fn paired_t_test(first: &[f64], second: &[f64]) -> anyhow::Result<PairedTTest> {
    ensure!(first.len() == second.len(), "{} values against {}: not paired", first.len(), second.len());
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let summary = SampleSummary::of(&differences).context("no values to compare")?;
    let sd = summary.sd.context("a paired test needs at least two seeds")?;
    ensure!(
        sd > 0.0,
        "all differences are {}: no spread over seeds; fix: use a bootstrap over pairs",
        summary.mean
    );
    let standard_error = sd / (summary.count as f64).sqrt();
    let student = StudentsT::new(0.0, 1.0, summary.count as f64 - 1.0)?;
    let t = summary.mean / standard_error;
    let half = student.inverse_cdf(0.975) * standard_error;
    let interval = summary.mean - half..summary.mean + half;
    Ok(PairedTTest {
        difference: summary.mean,
        t,
        p: 2.0 * student.sf(t.abs()),
        interval,
        count: summary.count,
    })
}

/// Result of [`paired_bootstrap`].
#[derive(Debug, Clone, PartialEq)]
pub struct PairedBootstrap {
    /// `metric(first) - metric(second)` on the pairs as they are.
    pub difference: f64,
    /// Two-sided p: twice the smaller share of resamples on one side of 0, at least `2 / (resamples + 1)`.
    pub p: f64,
    /// 95 % percentile interval of the difference.
    pub interval: Range<f64>,
    /// Number of resamples.
    pub resamples: usize,
}

/// Paired bootstrap over sentence pairs (Efron and Tibshirani 1993; Berg-Kirkpatrick et al. 2012): both
/// methods are scored on the same draws of pairs. Draws depend on `seed` alone, not on threads.
///
/// # Errors
/// When lengths differ, there is no resample, or the metric is not defined on the pairs or on a resample.
pub fn paired_bootstrap<M, E>(
    first: &[f64],
    second: &[f64],
    gold: &[f64],
    metric: M,
    resamples: usize,
    seed: u64,
) -> anyhow::Result<PairedBootstrap>
where
    M: Fn(&[f64], &[f64]) -> Result<f64, E> + Sync,
    E: std::error::Error + Send + Sync + 'static,
{
    let count = gold.len();
    ensure!(first.len() == count && second.len() == count, "scores and gold labels differ in number");
    ensure!(count > 0 && resamples > 0, "a bootstrap needs pairs and resamples");
    let difference = metric(first, gold)? - metric(second, gold)?;
    let stream = Stream::from_seed(seed).named("paired-bootstrap");
    let resampled = |resample: usize| -> anyhow::Result<f64> {
        let mut rng = stream.fold(resample as u64).rng();
        let rows: Vec<usize> = (0..count).map(|_| rng.random_range(0..count)).collect();
        let pick = |values: &[f64]| rows.iter().map(|row| values[*row]).collect::<Vec<f64>>();
        let drawn = pick(gold);
        Ok(metric(&pick(first), &drawn)? - metric(&pick(second), &drawn)?)
    };
    let mut differences: Vec<f64> =
        (0..resamples).into_par_iter().map(resampled).collect::<anyhow::Result<_>>()?;
    differences.sort_by(f64::total_cmp);
    let share = |side: usize| (side + 1) as f64 / (resamples + 1) as f64;
    let below = differences.iter().filter(|value| **value <= 0.0).count();
    let above = differences.iter().filter(|value| **value >= 0.0).count();
    let p = (2.0 * share(below.min(above))).min(1.0);
    let interval = quantile(&differences, 0.025)..quantile(&differences, 0.975);
    Ok(PairedBootstrap { difference, p, interval, resamples })
}

/// Quantile of sorted values, linear between neighbours as `numpy.quantile`.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (low, part) = (position.floor() as usize, position.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::spearman;

    const FIRST: [f64; 5] = [0.604, 0.611, 0.598, 0.607, 0.615];
    const SECOND: [f64; 5] = [0.592, 0.603, 0.601, 0.590, 0.601];

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1e-3), "{found} against {expected}");
    }

    // import numpy as np, scipy.stats as s
    // a = np.array([.604,.611,.598,.607,.615]); b = np.array([.592,.603,.601,.590,.601])
    // a.mean(), a.std(ddof=1); r = s.ttest_rel(a, b); r.statistic, r.pvalue, r.confidence_interval(.95)
    #[test]
    fn mean_sd_and_t_test_equal_scipy() {
        let summary = SampleSummary::of(&FIRST).unwrap();
        close(summary.mean, 0.607);
        close(summary.sd.unwrap(), 0.006519202405202654);
        let test = paired_t_test(&FIRST, &SECOND).unwrap();
        close(test.t, 2.764378961860352);
        close(test.p, 0.050621762549260235);
        close(test.interval.start, -4.190271219597225e-05);
        close(test.interval.end, 0.019241902712195988);
    }

    #[test]
    fn a_single_value_has_no_spread() {
        assert_eq!(SampleSummary::of(&[0.5]), Some(SampleSummary { count: 1, mean: 0.5, sd: None }));
        assert_eq!(SampleSummary::of(&[]), None);
        assert!(paired_t_test(&[0.5], &[0.4]).is_err());
        assert!(paired_t_test(&[0.5, 0.6], &[0.5, 0.6]).is_err());
    }

    // numpy.quantile([1, 2, 4, 8], [.025, .5, .975]) -> 1.075, 3.0, 7.7
    #[test]
    fn quantile_equals_numpy() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        close(quantile(&sorted, 0.025), 1.075);
        close(quantile(&sorted, 0.5), 3.0);
        close(quantile(&sorted, 0.975), 7.7);
    }

    /// A scorer near the gold labels against one that knows nothing; and a scorer against itself.
    #[test]
    fn bootstrap_tells_signal_from_none_and_repeats_itself() {
        let noise = |row: usize| ((row * 7919 + 13) % 101) as f64;
        let gold: Vec<f64> = (0..200).map(|row| f64::from(u8::from(row % 2 == 0))).collect();
        let good: Vec<f64> = gold.iter().enumerate().map(|(row, label)| 80.0 * label + noise(row)).collect();
        let blind: Vec<f64> = (0..200).map(|row| noise(row / 2 * 3)).collect();
        let test = paired_bootstrap(&good, &blind, &gold, spearman, 200, 3).unwrap();
        assert!(test.p < 0.02 && test.interval.start > 0.0, "{test:?}");
        assert!(test.interval.contains(&test.difference));
        assert_eq!(test, paired_bootstrap(&good, &blind, &gold, spearman, 200, 3).unwrap());
        assert_ne!(test, paired_bootstrap(&good, &blind, &gold, spearman, 200, 4).unwrap());
        let itself = paired_bootstrap(&good, &good, &gold, spearman, 50, 3).unwrap();
        assert_eq!((itself.difference, itself.p), (0.0, 1.0));
    }
}
