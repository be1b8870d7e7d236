//! InfoNCE between two views of a sentence, and between premise, entailment and contradiction.

use candle_core::Tensor;
use simcse_losses::{HardNegatives, InfoNceConfig, LossError, Negatives, info_nce_with};
use simcse_model::SentenceEncoder;

use super::momentum_queue::MomentumQueue;
use super::{LossContext, Objective, StepLoss, check_views};
use crate::{Result, StepBatch};

/// Unsupervised SimCSE: InfoNCE between the two views of each sentence (Gao et al. 2021, equation 1), with
/// the queue of ESimCSE (Wu et al. 2022) where the configuration has one.
pub struct ViewContrast {
    config: InfoNceConfig,
    queue: Option<MomentumQueue>,
}

impl ViewContrast {
    /// `encoder` is the one to be trained, before its first step: the momentum encoder begins as its copy.
    ///
    /// Fails on a value out of range and on a weight of hard negatives, of which views have none.
    pub fn new(config: InfoNceConfig, encoder: &dyn SentenceEncoder) -> Result<Self> {
        config.validate()?;
        if let Some(weight) = config.hard_negative_weight {
            return Err(LossError::Config {
                key: "hard_negative_weight",
                value: weight.to_string(),
                problem: "two views of a sentence have no hard negatives",
                fix: "leave the key out, or train on triplets",
            }
            .into());
        }
        let queue = config.queue.clone().map(|queue| MomentumQueue::new(queue, encoder)).transpose()?;
        Ok(Self { config, queue })
    }
}

impl Objective for ViewContrast {
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch, context: LossContext) -> Result<StepLoss> {
        if !batch.hard_negative_owners.is_empty() {
            let problem =
                "two views of a sentence have no hard negatives, the batch has some; fix: train on triplets";
            return Err(LossError::Embeddings(problem.to_owned()).into());
        }
        let views = if self.config.shared_dropout_mask { 1 } else { 2 };
        check_views(batch, views, "give it one with shared_dropout_mask, else two")?;
        let queue = self.queue.as_ref().and_then(MomentumQueue::embeddings);
        contrast(embeddings, batch, &Negatives { hard: None, queue }, &self.config, context.diagnose)
    }

    fn after_step(&mut self, encoder: &dyn SentenceEncoder, batch: &StepBatch) -> Result<()> {
        match &mut self.queue {
            Some(queue) => queue.update(encoder, &batch.tokens.slice(batch.positives())?),
            None => Ok(()),
        }
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(self.queue.as_ref().map(MomentumQueue::state).unwrap_or_default())
    }

    fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        match &mut self.queue {
            Some(queue) => queue.restore(state),
            None if state.is_empty() => Ok(()),
            None => Err(anyhow::anyhow!("holds a momentum queue, which the loss has not").into()),
        }
    }
}

/// Supervised SimCSE: InfoNCE from premise to entailment, with the contradictions of all premises as hard
/// negatives (Gao et al. 2021, equation 5). Anchors without a contradiction are allowed.
#[derive(Debug, Clone)]
pub struct TripletContrast {
    config: InfoNceConfig,
}

impl TripletContrast {
    /// Fails on a value out of range and on a queue, which is for views.
    pub fn new(config: InfoNceConfig) -> Result<Self> {
        config.validate()?;
        if config.shared_dropout_mask {
            return Err(LossError::Config {
                key: "shared_dropout_mask",
                value: "true".to_owned(),
                problem: "anchor and positive of a triplet are different sentences",
                fix: "leave the key out, or train on views of unlabelled sentences",
            }
            .into());
        }
        if let Some(queue) = &config.queue {
            return Err(LossError::Config {
                key: "queue",
                value: format!("{queue:?}"),
                problem: "triplets have their hard negatives and no momentum queue",
                fix: "leave the key out, or train on views of unlabelled sentences",
            }
            .into());
        }
        Ok(Self { config })
    }
}

impl Objective for TripletContrast {
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch, context: LossContext) -> Result<StepLoss> {
        let owners = &batch.hard_negative_owners;
        let rows = batch.hard_negatives();
        let hard_negatives =
            if rows.is_empty() { None } else { Some(embeddings.narrow(0, rows.start, rows.len())?) }; // [M, D]
        // Equation 5 without a weight is the weighted form at weight 1: ln(1) = 0 is added.
        let weight = self.config.hard_negative_weight.unwrap_or(1.0);
        let hard = hard_negatives.as_ref().map(|embeddings| HardNegatives { embeddings, owners, weight });
        contrast(embeddings, batch, &Negatives { hard, queue: None }, &self.config, context.diagnose)
    }
}

/// InfoNCE of anchors and positives with these further negatives.
fn contrast(
    embeddings: &Tensor,
    batch: &StepBatch,
    negatives: &Negatives<'_>,
    config: &InfoNceConfig,
    diagnose: bool,
) -> Result<StepLoss> {
    let anchors = embeddings.narrow(0, 0, batch.sentences)?; // [B, D]
    let positives = embeddings.narrow(0, batch.positives().start, batch.sentences)?; // [B, D]
    let contrast = info_nce_with(&anchors, &positives, negatives, config, Some(&batch.row_groups()))?;
    let diagnostics = if diagnose { Some(contrast.diagnostics()?.into()) } else { None };
    Ok(StepLoss { loss: contrast.mean()?, diagnostics })
}
