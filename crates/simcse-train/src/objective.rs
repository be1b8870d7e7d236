//! From the embeddings of a batch to a loss, and to what the health checks look at.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use simcse_losses::{InfoNceConfig, info_nce};

use crate::{Result, StepBatch};

/// A loss over the embeddings of one step.
pub trait Objective {
    /// `embeddings`: `[V·B, D]`, view by view, as the rows of `batch.tokens`. Diagnostics cost a look at
    /// every similarity, so they are made only where `diagnose` asks for them.
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch, diagnose: bool) -> Result<StepLoss>;
}

/// The loss of one step and its diagnostics.
#[derive(Debug)]
pub struct StepLoss {
    /// Mean loss, a scalar that can be differentiated.
    pub loss: Tensor,
    /// What the loss saw, if asked for.
    pub diagnostics: Option<Diagnostics>,
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

/// InfoNCE between the two views of each sentence.
#[derive(Debug, Clone)]
pub struct ViewContrast {
    /// Candidates, temperature, similarity.
    pub config: InfoNceConfig,
}

impl Objective for ViewContrast {
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch, diagnose: bool) -> Result<StepLoss> {
        let first = embeddings.narrow(0, 0, batch.sentences)?; // [B, D]
        let second = embeddings.narrow(0, batch.sentences, batch.sentences)?; // [B, D]
        let contrast = info_nce(&first, &second, &self.config, Some(&batch.groups))?;
        let diagnostics = if diagnose { Some(contrast.diagnostics()?.into()) } else { None };
        Ok(StepLoss { loss: contrast.mean()?, diagnostics })
    }
}

impl From<simcse_losses::ContrastiveDiagnostics> for Diagnostics {
    fn from(seen: simcse_losses::ContrastiveDiagnostics) -> Self {
        Self {
            positive_cosine: seen.positive_cosine,
            negative_cosine: seen.negative_cosine.unwrap_or(0.0),
            accuracy: seen.accuracy,
            chance_loss: seen.chance_loss,
        }
    }
}
