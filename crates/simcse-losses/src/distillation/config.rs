//! How much of each part, with which constants.

use serde::{Deserialize, Serialize};

use crate::config::TEMPERATURES;
use crate::{LossError, Result};

/// Constants of distillation: `kind = "distillation"`. Each of the first five is the weight of a part of the loss; 0
/// leaves it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillationConfig {
    /// Of [`cosine_distance`](super::cosine_distance).
    pub cosine: f64,
    /// Of [`squared_distance`](super::squared_distance).
    pub squared: f64,
    /// Of [`similarity_matrix`](super::similarity_matrix). Su 2021: 100.
    pub similarity_matrix: f64,
    /// Of [`similarity_distribution`](super::similarity_distribution).
    pub similarity_distribution: f64,
    /// Of [`ranking`](super::ranking).
    pub ranking: f64,
    /// Divides the cosines of distributions and rankings.
    pub temperature: f64,
    /// Whether the student is compared through a learned linear map to the size of the teacher, which is not part of the
    /// trained encoder. Without it the sizes must be equal.
    pub projection: bool,
}

impl DistillationConfig {
    /// Fails on weights that are negative or all 0, and on a temperature out of range; the message names the key.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: f64, problem, fix| {
            Err(LossError::Config { key, value: value.to_string(), problem, fix })
        };
        for (key, weight) in self.weights() {
            if !(weight.is_finite() && weight >= 0.0) {
                return wrong(key, weight, "not a number from 0", "take 1, or 0 to leave the part out");
            }
        }
        if self.weights().iter().all(|(_, weight)| *weight == 0.0) {
            return wrong("cosine", self.cosine, "all weights are 0", "give one of them a value above 0");
        }
        match TEMPERATURES.contains(&self.temperature) {
            true => Ok(()),
            false => wrong("temperature", self.temperature, "not between 0.0001 and 10000", "take 0.05"),
        }
    }

    fn weights(&self) -> [(&'static str, f64); 5] {
        [
            ("cosine", self.cosine),
            ("squared", self.squared),
            ("similarity_matrix", self.similarity_matrix),
            ("similarity_distribution", self.similarity_distribution),
            ("ranking", self.ranking),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_name_their_key() {
        let good = DistillationConfig {
            cosine: 1.0,
            squared: 0.0,
            similarity_matrix: 0.0,
            similarity_distribution: 0.5,
            ranking: 0.0,
            temperature: 0.05,
            projection: true,
        };
        good.validate().unwrap();
        let wrong = [
            ("cosine = 0:", DistillationConfig { cosine: 0.0, similarity_distribution: 0.0, ..good.clone() }),
            ("ranking = -1:", DistillationConfig { ranking: -1.0, ..good.clone() }),
            ("squared = NaN:", DistillationConfig { squared: f64::NAN, ..good.clone() }),
            ("temperature = 0:", DistillationConfig { temperature: 0.0, ..good }),
        ];
        for (key, config) in wrong {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(key) && message.contains("fix: "), "{message}");
        }
    }
}
