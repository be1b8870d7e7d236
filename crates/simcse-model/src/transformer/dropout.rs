//! Where a transformer drops out, and how much.

use serde::{Deserialize, Serialize};

use crate::{ModelError, Result};

/// Rates of dropout by place, each the same in all layers. They come from the run, not from the
/// checkpoint's `config.json`: dropout makes the views of unsupervised SimCSE.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropoutRates {
    /// After the norm of the embedding layer (`hidden_dropout_prob`).
    pub embeddings: f64,
    /// On the probabilities of attention (`attention_probs_dropout_prob`).
    pub attention_probabilities: f64,
    /// On the output of the attention block, before its residual (`hidden_dropout_prob`).
    pub attention_output: f64,
    /// On the output of the feed-forward block, before its residual (`hidden_dropout_prob`).
    pub feed_forward_output: f64,
}

impl DropoutRates {
    /// No dropout at all.
    pub const NONE: Self = Self {
        embeddings: 0.0,
        attention_probabilities: 0.0,
        attention_output: 0.0,
        feed_forward_output: 0.0,
    };

    /// The two rates of BERT: `hidden_dropout_prob` and `attention_probs_dropout_prob`.
    pub fn new(hidden: f64, attention: f64) -> Self {
        Self {
            embeddings: hidden,
            attention_probabilities: attention,
            attention_output: hidden,
            feed_forward_output: hidden,
        }
    }

    /// Fails, naming the key, on a rate outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        for (key, rate) in [
            ("embeddings", self.embeddings),
            ("attention_probabilities", self.attention_probabilities),
            ("attention_output", self.attention_output),
            ("feed_forward_output", self.feed_forward_output),
        ] {
            if !(0.0..1.0).contains(&rate) {
                let problem = "a dropout rate lies in [0, 1)".to_owned();
                return Err(ModelError::Config { key, value: rate.to_string(), problem });
            }
        }
        Ok(())
    }
}
