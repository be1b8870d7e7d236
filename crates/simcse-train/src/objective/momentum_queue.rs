//! Further negatives from earlier batches (ESimCSE, Wu et al. 2022, section 3.2; after MoCo, He et al. 2020).

use candle_core::Tensor;
use simcse_data::TokenBatch;
use simcse_losses::QueueConfig;
use simcse_model::{Mode, SentenceEncoder};
use simcse_ops::in_place::update;

use crate::Result;
use crate::gradient_cache::embed_in_pieces;

/// Rows that the momentum encoder embeds at a time: its activations are held for as many.
const ROWS_OF_A_PIECE: usize = 64;

/// Name of the queue in the state; the encoder's parameters stand behind [`PARAMETER`].
const QUEUE: &str = "queue";
const PARAMETER: &str = "momentum_encoder/";

/// A slowly moving copy of the encoder, and its embeddings of the newest positives.
pub(super) struct MomentumQueue {
    config: QueueConfig,
    encoder: Box<dyn SentenceEncoder>,
    /// `[Q, D]`, the newest last; `None` before the first step.
    embeddings: Option<Tensor>,
}

impl MomentumQueue {
    /// An empty queue; the momentum encoder begins equal to `encoder`.
    pub(super) fn new(config: QueueConfig, encoder: &dyn SentenceEncoder) -> Result<Self> {
        Ok(Self { config, encoder: encoder.copy()?, embeddings: None })
    }

    /// `[Q, D]` without gradient, not normalised, the newest last; at most the configured size.
    pub(super) fn embeddings(&self) -> Option<&Tensor> {
        self.embeddings.as_ref()
    }

    /// Moves the momentum encoder, θ_m ← m·θ_m + (1 - m)·θ, and puts its embeddings of `positives` into the
    /// queue, made with dropout off and, like those of the anchors that they are compared with, by the head of
    /// training.
    pub(super) fn update(&mut self, encoder: &dyn SentenceEncoder, positives: &TokenBatch) -> Result<()> {
        let share = (1.0 - self.config.momentum) as f32;
        let pairs = self.encoder.parameters().iter().zip(encoder.parameters().iter());
        for ((_, slow), (_, parameter)) in pairs {
            // In this form equal values stay equal to the last bit.
            update(slow, parameter, |slow, parameter| slow + share * (parameter - slow))?;
        }
        let mode = Mode::TrainWithoutDropout;
        let newest = embed_in_pieces(self.encoder.as_ref(), positives, ROWS_OF_A_PIECE, mode)?;
        let all = match &self.embeddings {
            Some(older) => Tensor::cat(&[older, &newest], 0)?,
            None => newest,
        };
        let rows = all.dim(0)?;
        let kept = rows.min(self.config.size);
        self.embeddings = Some(all.narrow(0, rows - kept, kept)?.contiguous()?);
        Ok(())
    }

    /// Parameters of the momentum encoder and the queue.
    pub(super) fn state(&self) -> Vec<(String, Tensor)> {
        let parameters = self.encoder.parameters().iter();
        parameters
            .map(|(name, variable)| (format!("{PARAMETER}{name}"), variable.as_tensor().clone()))
            .chain(self.embeddings.clone().map(|embeddings| (QUEUE.to_owned(), embeddings)))
            .collect()
    }

    /// Puts a [`MomentumQueue::state`] back. Fails when a parameter is missing or of another shape.
    pub(super) fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let find = |wanted: &str| state.iter().find(|(name, _)| name == wanted).map(|(_, tensor)| tensor);
        for (name, variable) in self.encoder.parameters().iter() {
            let name = format!("{PARAMETER}{name}");
            let value = find(&name).ok_or_else(|| anyhow::anyhow!("holds no {name}"))?;
            variable.set(value)?;
        }
        self.embeddings = find(QUEUE).cloned();
        Ok(())
    }
}
