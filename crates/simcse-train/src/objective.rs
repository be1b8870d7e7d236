//! From the embeddings of a batch to a loss, and to what the health checks look at.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Result, StepBatch};

/// A loss over the embeddings of one step.
pub trait Objective {
    /// `embeddings`: `[V·B, D]`, view by view, as the rows of `batch.tokens`.
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch) -> Result<StepLoss>;
}

/// The loss of one step and its diagnostics.
#[derive(Debug)]
pub struct StepLoss {
    /// Mean loss, a scalar that can be differentiated.
    pub loss: Tensor,
    /// What the loss saw.
    pub diagnostics: Diagnostics,
}

/// What a contrastive loss saw in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// Mean cosine of an anchor and its positive.
    pub positive_cosine: f64,
    /// Mean cosine of an anchor and its negatives.
    pub negative_cosine: f64,
    /// Share of anchors whose positive is nearer than every negative.
    pub accuracy: f64,
    /// The loss of a guess among the candidates: ln(number of candidates).
    pub chance_loss: f64,
}
