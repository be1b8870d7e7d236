//! Sentences as classes whose centres are the means of their views in the batch.

use candle_core::Tensor;
use simcse_losses::{BatchCentresConfig, LossError, batch_centres};

use super::{LossContext, Objective, StepLoss, check_views};
use crate::{Result, StepBatch};

/// Every view of a sentence has to find the mean of the sentence's other views among those of the batch.
pub struct BatchClasses {
    config: BatchCentresConfig,
}

impl BatchClasses {
    /// Fails on a value out of range.
    pub fn new(config: BatchCentresConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { config })
    }
}

/// Every sentence is a class of its own here, and nothing else is looked at.
fn refuse_labels_and_equal_texts(batch: &StepBatch) -> Result<()> {
    let mut groups = batch.groups[batch.anchors()].to_vec();
    groups.sort_unstable();
    groups.dedup();
    if groups.len() == batch.sentences && batch.hard_negative_owners.is_empty() && batch.gold.is_empty() {
        return Ok(());
    }
    let problem =
        "classes of a batch are different sentences without labels; fix: train on unlabelled sentences";
    Err(LossError::Embeddings(problem.to_owned()).into())
}

impl Objective for BatchClasses {
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch, context: LossContext) -> Result<StepLoss> {
        check_views(batch, self.config.views, "give it as many")?;
        refuse_labels_and_equal_texts(batch)?;
        let found = batch_centres(embeddings, &self.config)?;
        let diagnostics = if context.diagnose { Some(found.diagnostics()?.into()) } else { None };
        Ok(StepLoss { loss: found.per_view.mean_all()?, diagnostics })
    }
}
