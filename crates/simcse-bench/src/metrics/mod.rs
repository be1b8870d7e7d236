//! Numbers about scores and gold labels. Pure functions of `f64` slices; each is a fraction, not per cent.

mod binary;
mod correlation;
mod similarity;

pub use binary::{BestAccuracy, area_under_curve, best_accuracy, is_binary};
pub use correlation::{average_ranks, pearson, spearman, spearman_ceiling};
pub use similarity::cosine;

/// Scores or gold labels that a metric is not defined for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MetricError {
    /// As many scores as gold labels are needed.
    #[error("{scores} scores for {gold} gold labels")]
    Lengths {
        /// Number of scores.
        scores: usize,
        /// Number of gold labels.
        gold: usize,
    },
    /// Fewer values than the metric needs.
    #[error("{found} values where at least {needed} are needed")]
    TooFew {
        /// Number of values.
        found: usize,
        /// Number needed.
        needed: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what} number {index} (from 0) is {value}")]
    NotFinite {
        /// `score` or `gold label`.
        what: &'static str,
        /// Position, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// All values are equal, so that no order can be compared.
    #[error("all {count} {what}s are {value}: correlation is not defined; fix: look for a collapsed encoder")]
    Constant {
        /// `score` or `gold label`.
        what: &'static str,
        /// Number of values.
        count: usize,
        /// The value.
        value: f64,
    },
    /// A label other than 0 and 1, or only one of the two.
    #[error("gold labels must be 0 and 1, both present")]
    NotBinary,
}

/// Result of a metric.
pub type Result<T> = std::result::Result<T, MetricError>;

/// As many scores as gold labels, all finite, at least two.
fn check_pairing(scores: &[f64], gold: &[f64]) -> Result<()> {
    if scores.len() != gold.len() {
        return Err(MetricError::Lengths { scores: scores.len(), gold: gold.len() });
    }
    check_values("score", scores)?;
    check_values("gold label", gold)
}

/// All finite, at least two.
fn check_values(what: &'static str, values: &[f64]) -> Result<()> {
    if values.len() < 2 {
        return Err(MetricError::TooFew { found: values.len(), needed: 2 });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(MetricError::NotFinite { what, index, value: values[index] }),
        None => Ok(()),
    }
}

/// Not all equal.
fn check_varies(what: &'static str, values: &[f64]) -> Result<()> {
    if values.iter().all(|value| *value == values[0]) {
        return Err(MetricError::Constant { what, count: values.len(), value: values[0] });
    }
    Ok(())
}
