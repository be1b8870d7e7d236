//! Which sentences form the batch of a step: views of sentences, triplets, scored pairs.

use anyhow::Result;
use simcse_data::{Augmenter, BatchSampler, Example, LastBatch, PartitionedSampler, TokenBatch, TokenRow};
use simcse_random::Stream;
use simcse_train::{BatchSource, StepBatch};

/// What deals examples into batches.
#[derive(Debug, Clone)]
pub enum Sampler {
    /// All of them together.
    Together(BatchSampler),
    /// Each source by itself.
    BySource(PartitionedSampler),
}

impl Sampler {
    fn batches_per_epoch(&self) -> usize {
        match self {
            Self::Together(sampler) => sampler.batches_per_epoch(),
            Self::BySource(sampler) => sampler.batches_per_epoch(),
        }
    }

    fn epoch(&self, epoch: u64) -> Vec<Vec<u32>> {
        match self {
            Self::Together(sampler) => sampler.epoch(epoch),
            Self::BySource(sampler) => sampler.epoch(epoch),
        }
    }
}

/// The order of the examples. The batch of a step is a function of (stream, step).
struct Order {
    sampler: Sampler,
    epoch: Option<(u64, Vec<Vec<u32>>)>,
}

impl Order {
    fn new(sampler: Sampler) -> Self {
        Self { sampler, epoch: None }
    }

    /// The examples of a step; the order of an epoch is drawn once and kept.
    fn examples(&mut self, step: u64) -> Vec<u32> {
        let per_epoch = self.sampler.batches_per_epoch() as u64;
        let (epoch, batch) = (step / per_epoch, (step % per_epoch) as usize);
        if self.epoch.as_ref().is_none_or(|(held, _)| *held != epoch) {
            self.epoch = Some((epoch, self.sampler.epoch(epoch)));
        }
        self.epoch.as_ref().map(|(_, batches)| batches[batch].clone()).unwrap_or_default()
    }
}

/// Batches of dropout views.
pub struct DropoutViews {
    views: usize,
    sequences: Vec<Vec<u32>>,
    order: Order,
    augmenter: Option<SentenceAugmenter>,
    stream: Stream,
}

impl DropoutViews {
    /// `sequences`: token ids of unique sentences; `augmenter`: `None` where dropout is all that differs.
    pub fn new(
        sequences: Vec<Vec<u32>>,
        sampler: Sampler,
        augmenter: Option<SentenceAugmenter>,
        stream: Stream,
    ) -> Self {
        let (order, stream) = (Order::new(sampler), stream.named("augmentation"));
        Self { views: 2, sequences, order, augmenter, stream }
    }

    /// The same with so many views of each sentence in place of two.
    pub fn with_views(self, views: usize) -> Self {
        Self { views, ..self }
    }
}

impl BatchSource for DropoutViews {
    fn batch(&mut self, step: u64) -> Result<StepBatch> {
        let sentences = self.order.examples(step);
        let sequences: Vec<&[u32]> =
            sentences.iter().map(|index| self.sequences[*index as usize].as_slice()).collect();
        let tokens = match &self.augmenter {
            None => TokenBatch::from_sequences(&sequences)?.with_views(self.views)?,
            Some(augmenter) => {
                let stream = self.stream.fold(step);
                let view = |view: u64| -> Vec<Vec<u32>> {
                    let stream = stream.fold(view);
                    let each = sequences.iter().zip(0..);
                    each.map(|(ids, sentence)| augmenter.augment(ids, stream.fold(sentence))).collect()
                };
                TokenBatch::from_views(&(0..self.views as u64).map(view).collect::<Vec<_>>())?
            }
        };
        Ok(StepBatch {
            sentences: sentences.len(),
            views: self.views,
            groups: sentences.repeat(self.views),
            tokens,
            hard_negative_owners: Vec::new(),
            gold: Vec::new(),
        })
    }
}

/// Augments a sentence and leaves the encoder's prefix before it alone.
pub struct SentenceAugmenter {
    augmenter: Augmenter,
    prefix: Vec<u32>,
}

impl SentenceAugmenter {
    /// `prefix`: the token ids with which every sequence begins; of a sequence that does not (its first word
    /// grew into the prefix) every token is augmented.
    pub fn new(augmenter: Augmenter, prefix: Vec<u32>) -> Self {
        Self { augmenter, prefix }
    }

    fn augment(&self, ids: &[u32], stream: Stream) -> Vec<u32> {
        match ids.strip_prefix(self.prefix.as_slice()) {
            Some(sentence) if !self.prefix.is_empty() => {
                [self.prefix.as_slice(), &self.augmenter.augment(sentence, stream)].concat()
            }
            _ => self.augmenter.augment(ids, stream),
        }
    }
}

/// Batches of labelled examples: anchors, positives, hard negatives; or the two sides of scored pairs.
pub struct LabelledBatches {
    sequences: Vec<Vec<u32>>,
    examples: Vec<Example>,
    order: Order,
}

impl LabelledBatches {
    /// `sequences`: token ids of the sentences that the examples name; `sampler`: over the examples.
    pub fn new(sequences: Vec<Vec<u32>>, examples: Vec<Example>, sampler: BatchSampler) -> Self {
        Self { sequences, examples, order: Order::new(Sampler::Together(sampler)) }
    }

    /// Deals the examples into batches.
    ///
    /// Triplets of one anchor, of which NLI has many, never share a batch: their positives would be each
    /// other's negatives. Pairs are only ranked, and so are dealt freely; those that do not fill a batch wait
    /// for another epoch, because a small batch often has one gold score throughout, and nothing to rank.
    ///
    /// Fails as [`BatchSampler::new`].
    pub fn sampler(examples: &[Example], batch_size: usize, stream: Stream) -> Result<BatchSampler> {
        let anchor = |example: &Example| match *example {
            Example::Triplet { anchor, .. } => Some(anchor),
            Example::Pair { .. } => None,
        };
        let anchors: Option<Vec<u32>> = examples.iter().map(anchor).collect();
        Ok(match anchors {
            Some(anchors) => BatchSampler::new(&anchors, batch_size, LastBatch::Keep, stream)?,
            None => {
                let last = if examples.len() < batch_size { LastBatch::Keep } else { LastBatch::Drop };
                BatchSampler::unique(examples.len(), batch_size, last, stream)?
            }
        })
    }
}

impl BatchSource for LabelledBatches {
    fn batch(&mut self, step: u64) -> Result<StepBatch> {
        let chosen: Vec<Example> =
            self.order.examples(step).iter().map(|index| self.examples[*index as usize]).collect();
        let mut sides = Sides::default();
        chosen.iter().zip(0..).for_each(|(example, number)| sides.add(example, number));
        let mut rows = Vec::new();
        let mut groups = Vec::new();
        for (view, side) in [sides.first, sides.second, sides.hard_negatives].into_iter().enumerate() {
            for (sentence, number) in side {
                let ids = self.sequences[sentence as usize].as_slice();
                rows.push(TokenRow { ids, sentence: number, view: view as u32 });
                groups.push(sentence);
            }
        }
        Ok(StepBatch {
            tokens: TokenBatch::from_rows(&rows)?,
            sentences: chosen.len(),
            views: 2,
            groups,
            hard_negative_owners: sides.owners,
            gold: sides.gold,
        })
    }
}

/// The rows of a batch by role: sentence, and number of its example in the batch.
#[derive(Default)]
struct Sides {
    first: Vec<(u32, u32)>,
    second: Vec<(u32, u32)>,
    hard_negatives: Vec<(u32, u32)>,
    owners: Vec<u32>,
    gold: Vec<f32>,
}

impl Sides {
    fn add(&mut self, example: &Example, number: u32) {
        match *example {
            Example::Triplet { anchor, positive, hard_negative } => {
                self.first.push((anchor, number));
                self.second.push((positive, number));
                if let Some(hard_negative) = hard_negative {
                    self.hard_negatives.push((hard_negative, number));
                    self.owners.push(number);
                }
            }
            Example::Pair { first, second, score } => {
                self.first.push((first, number));
                self.second.push((second, number));
                self.gold.push(score);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simcse_data::AugmentationConfig;

    const CLS: u32 = 0;
    const SEP: u32 = 1;

    #[test]
    fn an_augmented_sentence_keeps_its_prefix() {
        let config = AugmentationConfig { full_shuffle: 1.0, crop: 0.5, ..AugmentationConfig::OFF };
        let augmenter = Augmenter::new(config, &[CLS, SEP]).unwrap();
        let augmenter = SentenceAugmenter::new(augmenter, vec![CLS, 20, 21]);
        let mut orders = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let found = augmenter.augment(&[CLS, 20, 21, 5, 6, 7, 8, SEP], Stream::from_seed(seed));
            assert_eq!((&found[..3], found.last()), ([CLS, 20, 21].as_slice(), Some(&SEP)), "{found:?}");
            assert!(found.len() == 6 && found[3..5].iter().all(|id| (5..9).contains(id)), "{found:?}");
            orders.insert(found);
        }
        assert!(orders.len() > 5, "the sentence itself is augmented: {orders:?}");
        let whole = augmenter.augment(&[CLS, 22, 5, 6, 7, SEP], Stream::from_seed(1));
        assert_eq!((whole.len(), whole[0]), (4, CLS), "without the prefix all of it is the sentence");
    }

    #[test]
    fn pairs_of_one_first_sentence_may_share_a_batch_and_a_rest_waits() {
        let pair = |second| Example::Pair { first: 0, second, score: second as f32 };
        let examples: Vec<Example> = (1..12).map(pair).collect();
        let epoch = |size| {
            let sampler = LabelledBatches::sampler(&examples, size, Stream::from_seed(1)).unwrap();
            sampler.epoch(0).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!((epoch(4), epoch(16)), (vec![4, 4], vec![11]));
        let triplet = |positive| Example::Triplet { anchor: 0, positive, hard_negative: None };
        let triplets: Vec<Example> = (1..12).map(triplet).collect();
        let sampler = LabelledBatches::sampler(&triplets, 4, Stream::from_seed(1)).unwrap();
        assert_eq!(sampler.batches_per_epoch(), 11, "triplets of one anchor never share a batch");
    }

    #[test]
    fn a_batch_of_triplets_has_the_rows_that_the_loss_expects() {
        let sequences: Vec<Vec<u32>> = (0..5).map(|id| vec![id + 10]).collect();
        let examples = vec![
            Example::Triplet { anchor: 0, positive: 1, hard_negative: None },
            Example::Triplet { anchor: 2, positive: 3, hard_negative: Some(4) },
        ];
        let sampler = LabelledBatches::sampler(&examples, 2, Stream::from_seed(1)).unwrap();
        let batch = LabelledBatches::new(sequences, examples, sampler).batch(0).unwrap();
        let place = batch.groups.iter().position(|group| *group == 2).unwrap();
        assert_eq!((batch.sentences, batch.tokens.rows()), (2, 5));
        assert_eq!(batch.groups[place + 2], 3, "positives stand in the order of their anchors");
        assert_eq!(batch.groups[4], 4);
        assert_eq!(batch.hard_negative_owners, [place as u32]);
        assert_eq!(batch.tokens.view(), [0, 0, 1, 1, 2]);
        assert_eq!(batch.tokens.row(4), [14]);
    }

    #[test]
    fn a_batch_of_pairs_carries_its_gold_scores() {
        let sequences: Vec<Vec<u32>> = (0..4).map(|id| vec![id + 10]).collect();
        let examples = vec![
            Example::Pair { first: 0, second: 1, score: 0.5 },
            Example::Pair { first: 2, second: 3, score: 4.0 },
        ];
        let sampler = BatchSampler::unique(2, 2, LastBatch::Keep, Stream::from_seed(1)).unwrap();
        let batch = LabelledBatches::new(sequences, examples, sampler).batch(0).unwrap();
        let expected = if batch.groups[0] == 0 { [0.5, 4.0] } else { [4.0, 0.5] };
        assert_eq!((batch.sentences, batch.gold.as_slice()), (2, expected.as_slice()));
    }
}
