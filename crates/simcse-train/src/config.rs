//! The `[train]` section of an experiment.

use serde::{Deserialize, Serialize};

use crate::optimizer::ParameterGroup;
use crate::schedule::Schedule;
use crate::{Result, TrainError};

/// How to train. Every key is required: a default would hide a choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Sentences of a batch, each in all its views.
    pub batch_size: usize,
    /// Optimiser steps; 0 measures the untrained encoder.
    pub steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Learning rate over the steps.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0 to its peak.
    pub warmup_steps: u64,
    /// AdamW's decay of the first moment. PyTorch: 0.9.
    pub beta1: f64,
    /// AdamW's decay of the second moment. PyTorch: 0.999.
    pub beta2: f64,
    /// AdamW's epsilon. PyTorch: 1e-8.
    pub epsilon: f64,
    /// Decoupled weight decay. SimCSE: 0.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; larger ones are scaled down to it.
    pub max_gradient_norm: f64,
    /// Steps between two measurements on dev.
    pub evaluate_every: u64,
    /// Stop after this many measurements without a new best; 0: never.
    pub early_stop_patience: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Rows that the encoder sees at a time: a larger batch is computed in pieces with a gradient cache, at the
    /// memory of one piece and with the same gradients, for the time of a second forward. Without it, all
    /// rows at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_cache_rows: Option<usize>,
    /// Parameters with a learning rate or weight decay of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ParameterGroup>,
}

impl TrainConfig {
    /// Fails on a value out of range; the message names the key.
    pub fn validate(&self) -> Result<()> {
        let positive = |key, value: f64| check(key, value, value > 0.0, "give a number above 0");
        let share =
            |key, value: f64| check(key, value, (0.0..1.0).contains(&value), "give a number in [0, 1)");
        if self.batch_size < 2 {
            return Err(bad(
                "batch_size",
                self.batch_size,
                "give 2 or more, a contrast needs other sentences",
            ));
        }
        positive("learning_rate", self.learning_rate)?;
        positive("epsilon", self.epsilon)?;
        positive("max_gradient_norm", self.max_gradient_norm)?;
        share("beta1", self.beta1)?;
        share("beta2", self.beta2)?;
        check("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "give 0 or more")?;
        if self.warmup_steps > self.steps {
            return Err(bad(
                "warmup_steps",
                self.warmup_steps,
                &format!("give at most steps = {}", self.steps),
            ));
        }
        for (key, value) in
            [("evaluate_every", self.evaluate_every), ("checkpoint_every", self.checkpoint_every)]
        {
            if value == 0 {
                return Err(bad(key, value, "give 1 or more"));
            }
        }
        if self.gradient_cache_rows == Some(0) {
            return Err(bad("gradient_cache_rows", 0, "give 1 or more, or leave the key out"));
        }
        self.groups.iter().try_for_each(ParameterGroup::validate)
    }
}

pub(crate) fn check(key: &'static str, value: f64, holds: bool, fix: &str) -> Result<()> {
    if holds && value.is_finite() { Ok(()) } else { Err(bad(key, value, fix)) }
}

fn bad(key: &'static str, value: impl ToString, fix: &str) -> TrainError {
    TrainError::Config { key, value: value.to_string(), fix: fix.to_owned() }
}
