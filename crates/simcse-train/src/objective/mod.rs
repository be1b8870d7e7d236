//! From the embeddings of a batch to a loss, and to what the health checks look at.

mod batch_centres;
mod class_margin;
mod contrast;
mod distillation;
mod momentum_queue;
mod pair_ranking;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use simcse_losses::{ContrastiveDiagnostics, LossError};
use simcse_model::SentenceEncoder;
use simcse_ops::gradients::Gradients;

use crate::{Result, StepBatch};

pub use batch_centres::BatchClasses;
pub use class_margin::ClassMargin;
pub use contrast::{TripletContrast, ViewContrast};
pub use distillation::Distillation;
pub use pair_ranking::Cosent;

/// What an objective is told of the step beside its batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossContext {
    /// Of this step: for parameters of the objective's own that its backward pass moves.
    pub learning_rate: f64,
    /// Diagnostics cost a look at every similarity, so they are made only where this asks for them.
    pub diagnose: bool,
}

impl LossContext {
    /// A look at the loss outside of training.
    pub const LOOK: Self = Self { learning_rate: 0.0, diagnose: true };
}

/// A loss over the embeddings of one step.
pub trait Objective {
    /// `embeddings`: `[rows, D]`, as the rows of `batch.tokens`.
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch, context: LossContext) -> Result<StepLoss>;

    /// Called after the encoder's update with the gradients of the step: for parameters of the objective's own, which
    /// clipping does not see.
    fn update(&mut self, _gradients: &Gradients, _learning_rate: f64) -> Result<()> {
        Ok(())
    }

    /// Called after the parameters were updated with the gradient of `batch`: for what follows the encoder in
    /// training, such as a momentum encoder.
    fn after_step(&mut self, _encoder: &dyn SentenceEncoder, _batch: &StepBatch) -> Result<()> {
        Ok(())
    }

    /// What only the objective can measure of the encoder as the last step left it, by the names of metrics; before the
    /// parameters that were best on dev are put back.
    fn closing_metrics(&self, _encoder: &dyn SentenceEncoder) -> Result<Vec<(String, f64)>> {
        Ok(Vec::new())
    }

    /// What steps change beside the encoder, by name: it goes into the checkpoint. Names differ.
    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(Vec::new())
    }

    /// Puts a [`Objective::state`] from a checkpoint back. Fails, in one line, when it is of another objective.
    fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        match state.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(anyhow::anyhow!("holds {name}, which this objective does not know").into())
            }
        }
    }
}

/// The loss of one step and its diagnostics.
#[derive(Debug)]
pub struct StepLoss {
    /// Mean loss, a scalar that can be differentiated.
    pub loss: Tensor,
    /// What the loss saw, if asked for.
    pub diagnostics: Option<Diagnostics>,
}

/// What a loss saw in one batch. A kind of loss for which a value means nothing gives `None`, and is not judged
/// by it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// Mean cosine of an anchor and its positive, or of a view and the centre of its class; contrastive losses only.
    pub positive_cosine: Option<f64>,
    /// Mean cosine of an anchor and its negatives; without negatives in the loss, of sentences that are no
    /// pair. `None` if there are none such.
    pub negative_cosine: Option<f64>,
    /// Share of comparisons that come out right: contrastive losses, anchors whose positive is nearer than
    /// every negative; rankings, couples of pairs in the order of their gold values; students, those whose own teacher is
    /// the nearest, and `None` where the sizes of both differ.
    pub accuracy: Option<f64>,
    /// The loss of a guess among the candidates, ln(number of candidates) without a margin and weights; contrastive losses
    /// only.
    pub chance_loss: Option<f64>,
}

/// Fails where a batch has another number of views of a sentence than the loss.
fn check_views(batch: &StepBatch, views: usize, fix: &str) -> Result<()> {
    if batch.views == views {
        return Ok(());
    }
    let problem = format!("{} views of a sentence where the loss has {views}; fix: {fix}", batch.views);
    Err(LossError::Embeddings(problem).into())
}

impl From<ContrastiveDiagnostics> for Diagnostics {
    fn from(seen: ContrastiveDiagnostics) -> Self {
        Self {
            positive_cosine: Some(seen.positive_cosine),
            negative_cosine: seen.negative_cosine,
            accuracy: Some(seen.accuracy),
            chance_loss: Some(seen.chance_loss),
        }
    }
}
