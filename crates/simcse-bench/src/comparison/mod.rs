//! Whether one method is better than another, by the tests that METHODOLOGY.md fixes: over the seeds of two
//! configurations, or over the sentence pairs that two runs scored.

mod pairs;
mod seeds;

pub use pairs::{PairComparison, compare_pairs};
pub use seeds::{Comparison, Contestants};

/// p below which a difference is claimed (METHODOLOGY.md).
pub const CLAIMED: f64 = 0.05;

/// What can be said of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Better than the second.
    Better,
    /// Worse than the second.
    Worse,
    /// No difference can be claimed.
    Open,
    /// No test can be made.
    Untested,
}

impl Verdict {
    /// Of a difference where a higher value is better, and its p.
    fn of(difference: f64, p: f64) -> Self {
        match () {
            () if p >= CLAIMED => Self::Open,
            () if difference > 0.0 => Self::Better,
            () => Self::Worse,
        }
    }
}
