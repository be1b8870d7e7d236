//! Learning rate by step.

use serde::{Deserialize, Serialize};

/// The course of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The peak throughout.
    Constant,
    /// From the peak down to 0 at the last step, as `get_linear_schedule_with_warmup` of `transformers`.
    Linear,
}

impl Schedule {
    /// The factor on the peak learning rate in the step with `done` steps before it, of `steps` in all.
    ///
    /// In warm-up it is `done / warmup_steps`, so that the very first of several warm-up steps has 0 as in
    /// `transformers`.
    pub fn factor(self, done: u64, warmup_steps: u64, steps: u64) -> f64 {
        if done < warmup_steps {
            return done as f64 / warmup_steps as f64;
        }
        match self {
            Self::Constant => 1.0,
            Self::Linear => steps.saturating_sub(done) as f64 / (steps - warmup_steps).max(1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// import torch; from transformers import get_linear_schedule_with_warmup as linear
    /// o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0); s = linear(o, 2, 6); r = []
    /// for _ in range(6): r.append(o.param_groups[0]["lr"]); o.step(); s.step()
    /// print(r)  # [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]
    /// ```
    #[test]
    fn linear_equals_transformers() {
        let factors: Vec<f64> = (0..6).map(|done| Schedule::Linear.factor(done, 2, 6)).collect();
        assert_eq!(factors, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]);
    }

    #[test]
    fn constant_stays_at_the_peak_after_warm_up() {
        let factors: Vec<f64> = (0..5).map(|done| Schedule::Constant.factor(done, 2, 5)).collect();
        assert_eq!(factors, [0.0, 0.5, 1.0, 1.0, 1.0]);
    }
}
