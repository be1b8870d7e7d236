//! Metrics for gold labels 0 and 1.

use super::{MetricError, Result, average_ranks, check_pairing};

/// Whether all labels are 0 or 1, and both occur.
pub fn is_binary(gold: &[f64]) -> bool {
    gold.iter().all(|label| *label == 0.0 || *label == 1.0) && gold.contains(&0.0) && gold.contains(&1.0)
}

/// Area under the receiver operating characteristic: the share of (positive, negative) pairs in which the
/// positive has the higher score, a tie counting half (Mann and Whitney). As `sklearn.metrics.roc_auc_score`.
///
/// # Errors
/// When lengths differ, a value is not finite, or the labels are not binary.
pub fn area_under_curve(scores: &[f64], gold: &[f64]) -> Result<f64> {
    check_pairing(scores, gold)?;
    if !is_binary(gold) {
        return Err(MetricError::NotBinary);
    }
    let ranks = average_ranks(scores);
    let positive_ranks: f64 =
        ranks.iter().zip(gold).filter(|(_, label)| **label == 1.0).map(|(rank, _)| rank).sum();
    let positives = gold.iter().sum::<f64>();
    let negatives = gold.len() as f64 - positives;
    Ok((positive_ranks - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

/// The best threshold and what it reaches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestAccuracy {
    /// Share of pairs decided rightly, 0 to 1.
    pub accuracy: f64,
    /// A pair counts as positive when its score is at least this.
    pub threshold: f64,
}

/// The highest accuracy that one threshold reaches. The threshold is chosen on these very labels, so this is
/// an upper bound for a threshold chosen on dev; of equally good thresholds the highest is taken.
///
/// Between two scores the threshold lies in the middle; above all of them, just above the highest.
///
/// # Errors
/// As [`area_under_curve`].
pub fn best_accuracy(scores: &[f64], gold: &[f64]) -> Result<BestAccuracy> {
    check_pairing(scores, gold)?;
    if !is_binary(gold) {
        return Err(MetricError::NotBinary);
    }
    let mut order: Vec<(f64, f64)> = scores.iter().copied().zip(gold.iter().copied()).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    // Start with the threshold above all scores: all negatives are right, no positive is.
    let mut right = gold.len() - gold.iter().filter(|label| **label == 1.0).count();
    let mut best = (right, order[0].0.next_up());
    let mut groups = order.chunk_by(|a, b| a.0 == b.0).peekable();
    while let Some(group) = groups.next() {
        let positives = group.iter().filter(|(_, label)| *label == 1.0).count();
        right = right + positives - (group.len() - positives);
        if right > best.0 {
            let score = group[0].0;
            best = (right, groups.peek().map_or(score, |next| score.midpoint(next[0].0)));
        }
    }
    Ok(BestAccuracy { accuracy: best.0 as f64 / gold.len() as f64, threshold: best.1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 10] = [0.1, 0.4, 0.4, -0.2, 0.9, 0.4, 0.0, 0.9, 0.35, 0.1];
    const GOLD: [f64; 10] = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0];

    // import numpy as np; from sklearn.metrics import roc_auc_score
    // x = np.array([.1,.4,.4,-.2,.9,.4,.0,.9,.35,.1]); y = np.array([0,1,0,0,1,0,0,1,1,1])
    // roc_auc_score(y, x)
    #[test]
    fn area_equals_sklearn_on_ties() {
        assert!((area_under_curve(&SCORES, &GOLD).unwrap() - 0.78).abs() < 1e-12);
    }

    #[test]
    fn area_counts_pairs() {
        let (mut won, mut all) = (0.0, 0.0);
        for (positive, _) in SCORES.iter().zip(GOLD).filter(|(_, label)| *label == 1.0) {
            for (negative, _) in SCORES.iter().zip(GOLD).filter(|(_, label)| *label == 0.0) {
                all += 1.0;
                won +=
                    if positive > negative { 1.0 } else { 0.5 * f64::from(u8::from(positive == negative)) };
            }
        }
        assert!((area_under_curve(&SCORES, &GOLD).unwrap() - won / all).abs() < 1e-12);
    }

    /// Against every threshold, by counting.
    #[test]
    fn best_accuracy_is_the_best_of_all_thresholds() {
        let reached = |scores: &[f64], gold: &[f64], threshold: f64| {
            let right =
                scores.iter().zip(gold).filter(|(score, label)| (**score >= threshold) == (**label == 1.0));
            right.count() as f64 / scores.len() as f64
        };
        let inverted: Vec<f64> = GOLD.iter().map(|label| 1.0 - label).collect();
        for gold in [GOLD.as_slice(), &inverted] {
            let best = best_accuracy(&SCORES, gold).unwrap();
            let brute = SCORES.iter().chain(&[2.0]).map(|t| reached(&SCORES, gold, *t)).fold(0.0, f64::max);
            assert_eq!(best.accuracy, brute);
            assert_eq!(
                reached(&SCORES, gold, best.threshold),
                best.accuracy,
                "the threshold does what it says"
            );
        }
    }

    #[test]
    fn graded_or_one_sided_labels_are_refused() {
        assert_eq!(area_under_curve(&[0.1, 0.2], &[1.0, 1.0]), Err(MetricError::NotBinary));
        assert_eq!(best_accuracy(&[0.1, 0.2], &[0.0, 3.0]), Err(MetricError::NotBinary));
    }
}
