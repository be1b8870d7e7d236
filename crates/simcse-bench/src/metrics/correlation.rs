//! Rank and linear correlation, and the highest rank correlation that tied gold labels allow.

use super::{Result, check_pairing, check_values, check_varies};

/// Ranks from 1; tied values share the average of the ranks they take, as `scipy.stats.rankdata` does.
/// Values must be finite.
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    // The sort is by `total_cmp`, which puts -0.0 just before 0.0; here they are equal.
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + (tied.len() as f64 + 1.0) / 2.0;
        for index in tied {
            ranks[*index] = rank;
        }
        before += tied.len();
    }
    ranks
}

/// Spearman's rank correlation: Pearson's of the average ranks, equal to `scipy.stats.spearmanr` on ties.
///
/// # Errors
/// When lengths differ, there are fewer than two values, a value is NaN or infinite, or either side is
/// constant (then the correlation is not defined; scipy gives NaN).
pub fn spearman(scores: &[f64], gold: &[f64]) -> Result<f64> {
    check_pairing(scores, gold)?;
    pearson(&average_ranks(scores), &average_ranks(gold)).map_err(|error| match error {
        // Say the value that is constant, not its rank.
        super::MetricError::Constant { what, count, .. } => {
            let value = if what == "score" { scores[0] } else { gold[0] };
            super::MetricError::Constant { what, count, value }
        }
        other => other,
    })
}

/// Pearson's linear correlation, in two passes over `f64`.
///
/// # Errors
/// As [`spearman`].
pub fn pearson(scores: &[f64], gold: &[f64]) -> Result<f64> {
    check_pairing(scores, gold)?;
    check_varies("score", scores)?;
    check_varies("gold label", gold)?;
    let count = scores.len() as f64;
    let (score_mean, gold_mean) = (scores.iter().sum::<f64>() / count, gold.iter().sum::<f64>() / count);
    let (mut covariance, mut score_square, mut gold_square) = (0.0, 0.0, 0.0);
    for (score, label) in scores.iter().zip(gold) {
        let (x, y) = (score - score_mean, label - gold_mean);
        covariance += x * y;
        score_square += x * x;
        gold_square += y * y;
    }
    Ok((covariance / (score_square * gold_square).sqrt()).clamp(-1.0, 1.0))
}

/// The highest [`spearman`] that scores without ties can reach on these gold labels: that of a scorer which
/// orders every pair of different labels rightly and has to break the ties within a label somehow.
///
/// With average ranks `r` of the gold labels the best order is the sorted one, and
/// `max rho = sd(r) / sd(1..n) = sqrt(1 - sum_g (t_g^3 - t_g) / (n^3 - n))` over groups of `t_g` equal labels.
/// For binary labels with share `p` of positives this is `sqrt(3 p (1 - p))` up to a factor
/// `n / sqrt(n^2 - 1)`: 0.866 at one half.
///
/// # Errors
/// When there are fewer than two labels, one is not finite, or all are equal.
pub fn spearman_ceiling(gold: &[f64]) -> Result<f64> {
    check_values("gold label", gold)?;
    check_varies("gold label", gold)?;
    let mut sorted = gold.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cube = |count: usize| (count as f64).powi(3) - count as f64;
    let tied: f64 = sorted.chunk_by(|a, b| a == b).map(|group| cube(group.len())).sum();
    Ok((1.0 - tied / cube(gold.len())).sqrt())
}

#[cfg(test)]
mod tests {
    use super::super::MetricError;
    use super::*;

    const SCORES: [f64; 10] = [0.1, 0.4, 0.4, -0.2, 0.9, 0.4, 0.0, 0.9, 0.35, 0.1];
    const GOLD: [f64; 10] = [0.0, 3.0, 2.0, 0.0, 5.0, 2.0, 1.0, 4.0, 2.0, 3.0];

    // import scipy.stats as s
    // x = [.1,.4,.4,-.2,.9,.4,.0,.9,.35,.1]; y = [0,3,2,0,5,2,1,4,2,3]
    // s.rankdata(x).tolist(); s.spearmanr(x, y)[0]; s.pearsonr(x, y)[0]; s.spearmanr(x, [v > 2 for v in y])[0]
    #[test]
    fn equals_scipy_on_ties() {
        assert_eq!(average_ranks(&SCORES), [3.5, 7.0, 7.0, 1.0, 9.5, 7.0, 2.0, 9.5, 5.0, 3.5]);
        assert!((spearman(&SCORES, &GOLD).unwrap() - 0.8113207547169812).abs() < 1e-12);
        assert!((pearson(&SCORES, &GOLD).unwrap() - 0.8656979956211354).abs() < 1e-12);
        let binary: Vec<f64> = GOLD.iter().map(|label| f64::from(u8::from(*label > 2.0))).collect();
        assert!((spearman(&SCORES, &binary).unwrap() - 0.5429653034538368).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_correlation_is_an_error() {
        let constant = [0.5; 10];
        let expected = MetricError::Constant { what: "score", count: 10, value: 0.5 };
        assert_eq!(spearman(&constant, &GOLD), Err(expected));
        let expected = MetricError::Constant { what: "gold label", count: 10, value: 0.5 };
        assert_eq!(spearman(&SCORES, &constant), Err(expected));
        assert_eq!(spearman(&SCORES[..9], &GOLD), Err(MetricError::Lengths { scores: 9, gold: 10 }));
        let mut spoilt = SCORES;
        spoilt[3] = f64::NAN;
        assert!(matches!(
            spearman(&spoilt, &GOLD),
            Err(MetricError::NotFinite { what: "score", index: 3, .. })
        ));
        assert!(matches!(spearman(&[1.0], &[1.0]), Err(MetricError::TooFew { .. })));
    }

    /// Against every one of the 7! orders of distinct scores.
    #[test]
    fn ceiling_is_the_best_of_all_orders() {
        for gold in [
            vec![0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0],
            vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            vec![0.0, 1.0, 1.0, 3.0, 3.0, 3.0, 5.0],
            vec![6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
        ] {
            let mut best = f64::NEG_INFINITY;
            let mut scores: Vec<f64> = (0..gold.len()).map(|rank| rank as f64).collect();
            each_order(&mut scores, 0, &mut |order| best = best.max(spearman(order, &gold).unwrap()));
            let ceiling = spearman_ceiling(&gold).unwrap();
            assert!((ceiling - best).abs() < 1e-12, "{gold:?}: {ceiling} against {best}");
        }
    }

    fn each_order(values: &mut Vec<f64>, start: usize, see: &mut dyn FnMut(&[f64])) {
        if start == values.len() {
            return see(values);
        }
        for other in start..values.len() {
            values.swap(start, other);
            each_order(values, start + 1, see);
            values.swap(start, other);
        }
    }

    #[test]
    fn ceiling_of_binary_labels_is_the_known_formula() {
        let gold: Vec<f64> = (0..20_000).map(|row| f64::from(u8::from(row % 100 < 18))).collect();
        assert!((spearman_ceiling(&gold).unwrap() - (3.0_f64 * 0.18 * 0.82).sqrt()).abs() < 1e-8);
    }
}
