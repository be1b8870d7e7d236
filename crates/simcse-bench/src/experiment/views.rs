//! Two views of each sentence: dropout, and augmentation where the configuration asks for it.

use anyhow::Result;
use simcse_data::{Augmenter, BatchSampler, TokenBatch};
use simcse_random::Stream;
use simcse_train::{BatchSource, StepBatch};

/// Views of one sentence in a batch.
const VIEWS: u64 = 2;

/// Batches of dropout views. The batch of a step is a function of (corpus, stream, step).
pub struct DropoutViews {
    sequences: Vec<Vec<u32>>,
    sampler: BatchSampler,
    augmenter: Option<Augmenter>,
    stream: Stream,
    epoch: Option<(u64, Vec<Vec<u32>>)>,
}

impl DropoutViews {
    /// `sequences`: token ids of unique sentences; `augmenter`: `None` where dropout is all that differs.
    pub fn new(
        sequences: Vec<Vec<u32>>,
        sampler: BatchSampler,
        augmenter: Option<Augmenter>,
        stream: Stream,
    ) -> Self {
        Self { sequences, sampler, augmenter, stream: stream.named("augmentation"), epoch: None }
    }

    /// The sentences of a step; the order of an epoch is drawn once and kept.
    fn sentences(&mut self, step: u64) -> Vec<u32> {
        let per_epoch = self.sampler.batches_per_epoch() as u64;
        let (epoch, batch) = (step / per_epoch, (step % per_epoch) as usize);
        if self.epoch.as_ref().is_none_or(|(held, _)| *held != epoch) {
            self.epoch = Some((epoch, self.sampler.epoch(epoch)));
        }
        self.epoch.as_ref().map(|(_, batches)| batches[batch].clone()).unwrap_or_default()
    }
}

impl BatchSource for DropoutViews {
    fn batch(&mut self, step: u64) -> Result<StepBatch> {
        let sentences = self.sentences(step);
        let sequences: Vec<&[u32]> =
            sentences.iter().map(|index| self.sequences[*index as usize].as_slice()).collect();
        let tokens = match &self.augmenter {
            None => TokenBatch::from_sequences(&sequences)?.with_views(VIEWS as usize)?,
            Some(augmenter) => {
                let stream = self.stream.fold(step);
                let view = |view: u64| -> Vec<Vec<u32>> {
                    let stream = stream.fold(view);
                    let each = sequences.iter().zip(0..);
                    each.map(|(ids, sentence)| augmenter.augment(ids, stream.fold(sentence))).collect()
                };
                TokenBatch::from_views(&(0..VIEWS).map(view).collect::<Vec<_>>())?
            }
        };

        Ok(StepBatch { sentences: sentences.len(), groups: sentences, tokens })
    }
}
