//! Which sentences form which batch: seeded, without repeats in a batch, resumable.

use crate::error::{DataError, Result};
use crate::shuffle::{below, shuffle};
use serde::{Deserialize, Serialize};
use simcse_random::{ChaCha8Rng, Stream};
use std::collections::HashMap;

/// What becomes of the sentences that do not fill the last batch of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastBatch {
    /// They are a smaller batch. If that is a single sentence, which has nothing to be contrasted with, it
    /// joins the batch before, which is then one larger than `batch_size`.
    Keep,
    /// They are a smaller batch, even of a single sentence.
    KeepSingle,
    /// They wait for another epoch (another shuffle leaves out others).
    Drop,
}

/// A place in training: the batch that comes next. Goes into checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batch of the epoch, from 0.
    pub batch: usize,
}

/// One batch: its position and the numbers of its sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledBatch {
    /// Where it stands.
    pub position: Position,
    /// Indices into the corpus; no two with the same group.
    pub sentences: Vec<u32>,
}

/// Deals the sentences of a corpus into batches, anew for each epoch.
///
/// The order is a function of (stream, epoch) alone. Two sentences of the same *group* (equal texts) never
/// share a batch: as each other's negatives they would pull the loss the wrong way.
#[derive(Debug, Clone)]
pub struct BatchSampler {
    groups: Vec<u32>,
    sizes: Vec<usize>,
    /// A group has more members than there are batches: more, evenly filled batches are dealt instead.
    crowded: bool,
    has_repeats: bool,
    stream: Stream,
}

impl BatchSampler {
    /// A sampler over `groups.len()` sentences; `groups[i]` is equal for sentences of equal text.
    ///
    /// # Errors
    /// [`DataError::Config`] if there is no sentence, `batch_size` is 0, or `Drop` leaves no batch.
    pub fn new(groups: &[u32], batch_size: usize, last: LastBatch, stream: Stream) -> Result<Self> {
        if groups.is_empty() || batch_size == 0 {
            let problem = format!("batches of {batch_size} from {} sentences", groups.len());
            return Err(DataError::Config {
                key: "batch_size",
                problem,
                fix: "give at least one sentence and a batch size of at least 1".to_owned(),
            });
        }
        let mut sizes = batch_sizes(groups.len(), batch_size, last);
        if sizes.is_empty() {
            return Err(DataError::Config {
                key: "batch_size",
                problem: format!("{} sentences do not fill one batch of {batch_size}", groups.len()),
                fix: "lower the batch size or keep the last batch".to_owned(),
            });
        }
        let largest_group = largest_group(groups);
        let crowded = largest_group > sizes.len();
        if crowded {
            sizes = even_sizes(groups.len(), largest_group);
        }
        Ok(Self { groups: groups.to_vec(), sizes, crowded, has_repeats: largest_group > 1, stream })
    }

    /// A sampler over sentences that are all different, as a [`crate::Corpus`] holds them.
    ///
    /// # Errors
    /// As [`BatchSampler::new`].
    pub fn unique(sentences: usize, batch_size: usize, last: LastBatch, stream: Stream) -> Result<Self> {
        let groups: Vec<u32> = (0..sentences as u32).collect();
        Self::new(&groups, batch_size, last, stream)
    }

    /// Number of batches of an epoch; the same for every epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.sizes.len()
    }

    /// All batches of one epoch.
    pub fn epoch(&self, epoch: u64) -> Vec<Vec<u32>> {
        let mut rng = self.stream.fold(epoch).rng();
        let mut order: Vec<u32> = (0..self.groups.len() as u32).collect();
        shuffle(&mut order, &mut rng);
        if self.has_repeats && (self.crowded || !self.separate(&mut order, &mut rng)) {
            return self.deal(&order, &mut rng);
        }
        self.cut(&order)
    }

    /// The batches from `position` on, epoch after epoch without end. Starting in the middle costs one
    /// shuffle and gives exactly the batches that an uninterrupted run would have seen.
    pub fn batches_from(&self, position: Position) -> impl Iterator<Item = SampledBatch> + '_ {
        (position.epoch..).flat_map(move |epoch| {
            let skipped = if epoch == position.epoch { position.batch } else { 0 };
            self.epoch(epoch).into_iter().enumerate().skip(skipped).map(move |(batch, sentences)| {
                SampledBatch { position: Position { epoch, batch }, sentences }
            })
        })
    }

    fn cut(&self, order: &[u32]) -> Vec<Vec<u32>> {
        let mut start = 0;
        let cut_next = |size: &usize| {
            start += size;
            order[start - size..start].to_vec()
        };
        self.sizes.iter().map(cut_next).collect()
    }

    /// Swaps repeats out of their batches at random. False if one cannot be placed.
    fn separate(&self, order: &mut [u32], rng: &mut ChaCha8Rng) -> bool {
        let batch_of = self.batch_of_each_place(order.len());
        let mut bounds = vec![0];
        bounds.extend(self.sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        }));
        let dealt = bounds[self.sizes.len()];
        for place in 0..dealt {
            let start = bounds[batch_of[place]];
            if !order[start..place].iter().any(|other| self.same_group(*other, order[place])) {
                continue;
            }
            let Some(partner) = self.partner(order, place, &batch_of, &bounds, rng) else { return false };
            order.swap(place, partner);
        }
        true
    }

    /// A place in another batch (or among the dropped) with which `place` can be swapped.
    fn partner(
        &self,
        order: &[u32],
        place: usize,
        batch_of: &[usize],
        bounds: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Option<usize> {
        let none_like = |sentence: u32, batch: usize, except: usize| {
            batch == self.sizes.len()
                || (bounds[batch]..bounds[batch + 1])
                    .all(|other| other == except || !self.same_group(order[other], sentence))
        };
        let fits = |partner: &usize| {
            batch_of[*partner] != batch_of[place]
                && none_like(order[place], batch_of[*partner], *partner)
                && none_like(order[*partner], batch_of[place], place)
        };
        let offset = below(rng, order.len());
        (0..order.len()).map(|step| (offset + step) % order.len()).find(fits)
    }

    fn batch_of_each_place(&self, places: usize) -> Vec<usize> {
        let mut batch_of = Vec::with_capacity(places);
        for (batch, size) in self.sizes.iter().enumerate() {
            batch_of.resize(batch_of.len() + size, batch);
        }
        batch_of.resize(places, self.sizes.len());
        batch_of
    }

    /// Deals the sentences round, group after group, so that no batch can get two of a group as long as no
    /// group has more members than there are batches.
    fn deal(&self, order: &[u32], rng: &mut ChaCha8Rng) -> Vec<Vec<u32>> {
        let mut rank = HashMap::new();
        for (place, sentence) in order.iter().enumerate() {
            rank.entry(self.groups[*sentence as usize]).or_insert(place);
        }
        let mut grouped = order.to_vec();
        grouped.sort_by_key(|sentence| rank[&self.groups[*sentence as usize]]);
        let mut batches = vec![Vec::new(); self.sizes.len()];
        for (place, sentence) in grouped.into_iter().enumerate() {
            batches[place % self.sizes.len()].push(sentence);
        }
        shuffle(&mut batches, rng);
        batches
    }

    fn same_group(&self, a: u32, b: u32) -> bool {
        self.groups[a as usize] == self.groups[b as usize]
    }
}

fn batch_sizes(sentences: usize, batch_size: usize, last: LastBatch) -> Vec<usize> {
    let mut sizes = vec![batch_size; sentences / batch_size];
    match (sentences % batch_size, last) {
        (0, _) | (_, LastBatch::Drop) => {}
        (1, LastBatch::Keep) if !sizes.is_empty() => {
            let end = sizes.len() - 1;
            sizes[end] += 1;
        }
        (rest, _) => sizes.push(rest),
    }
    sizes
}

fn even_sizes(sentences: usize, batches: usize) -> Vec<usize> {
    (0..batches).map(|batch| (sentences - batch).div_ceil(batches)).collect()
}

fn largest_group(groups: &[u32]) -> usize {
    let mut sorted = groups.to_vec();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).map(<[u32]>::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn stream() -> Stream {
        Stream::from_seed(5).named("shuffle")
    }

    fn sampler(groups: &[u32], batch_size: usize, last: LastBatch) -> BatchSampler {
        BatchSampler::new(groups, batch_size, last, stream()).unwrap()
    }

    fn sizes(batches: &[Vec<u32>]) -> Vec<usize> {
        batches.iter().map(Vec::len).collect()
    }

    #[test]
    fn an_epoch_deals_every_sentence_once_and_keeps_the_last_batch() {
        let sampler = BatchSampler::unique(10, 4, LastBatch::Keep, stream()).unwrap();
        let batches = sampler.epoch(0);
        assert_eq!(sizes(&batches), [4, 4, 2]);
        assert_eq!(sampler.batches_per_epoch(), 3);
        let all: BTreeSet<u32> = batches.iter().flatten().copied().collect();
        assert_eq!(all.len(), 10);
        assert_ne!(batches.concat(), (0..10).collect::<Vec<u32>>(), "not shuffled");
    }

    #[test]
    fn epochs_differ_and_are_repeatable() {
        let sampler = BatchSampler::unique(100, 8, LastBatch::Keep, stream()).unwrap();
        assert_ne!(sampler.epoch(0), sampler.epoch(1));
        assert_eq!(sampler.epoch(1), sampler.clone().epoch(1));
    }

    #[test]
    fn a_single_last_sentence_is_merged_handed_out_or_dropped() {
        let sizes_with = |last| sizes(&BatchSampler::unique(9, 4, last, stream()).unwrap().epoch(0));
        assert_eq!(sizes_with(LastBatch::Keep), [4, 5]);
        assert_eq!(sizes_with(LastBatch::KeepSingle), [4, 4, 1]);
        assert_eq!(sizes_with(LastBatch::Drop), [4, 4]);
    }

    #[test]
    fn resuming_gives_the_batches_of_the_uninterrupted_run() {
        let groups: Vec<u32> = (0..50).map(|sentence| sentence % 23).collect();
        let sampler = sampler(&groups, 8, LastBatch::Keep);
        let start = Position { epoch: 0, batch: 0 };
        let whole: Vec<SampledBatch> = sampler.batches_from(start).take(20).collect();
        for cut in 1..20 {
            let resumed: Vec<SampledBatch> =
                sampler.batches_from(whole[cut].position).take(20 - cut).collect();
            assert_eq!(resumed, whole[cut..], "resumed at {cut}");
        }
    }

    fn assert_no_repeats(groups: &[u32], batch_size: usize, last: LastBatch) {
        let sampler = sampler(groups, batch_size, last);
        for epoch in 0..20 {
            let batches = sampler.epoch(epoch);
            assert_eq!(batches.len(), sampler.batches_per_epoch(), "batches of {groups:?}");
            for batch in &batches {
                let different: BTreeSet<u32> =
                    batch.iter().map(|&sentence| groups[sentence as usize]).collect();
                assert_eq!(different.len(), batch.len(), "repeat in {batch:?} of {groups:?}");
            }
            let dealt: BTreeSet<u32> = batches.iter().flatten().copied().collect();
            assert_eq!(dealt.len(), batches.iter().map(Vec::len).sum::<usize>(), "dealt twice");
            if last != LastBatch::Drop {
                assert_eq!(dealt.len(), groups.len(), "left out");
            }
        }
    }

    #[test]
    fn equal_texts_never_share_a_batch() {
        let mut rng = stream().rng();
        for _ in 0..200 {
            let sentences = 1 + below(&mut rng, 40);
            let kinds = 1 + below(&mut rng, 40);
            let groups: Vec<u32> = (0..sentences).map(|_| below(&mut rng, kinds) as u32).collect();
            let batch_size = 1 + below(&mut rng, 9);
            assert_no_repeats(&groups, batch_size, LastBatch::Keep);
            assert_no_repeats(&groups, batch_size, LastBatch::KeepSingle);
            if sentences >= batch_size {
                assert_no_repeats(&groups, batch_size, LastBatch::Drop);
            }
        }
    }

    #[test]
    fn a_text_that_fills_more_than_all_batches_makes_more_batches() {
        let groups = [0, 0, 0, 0, 1, 2];
        let sampler = sampler(&groups, 3, LastBatch::Keep);
        assert_eq!(sampler.batches_per_epoch(), 4);
        assert_no_repeats(&groups, 3, LastBatch::Keep);
    }

    #[test]
    fn few_repeats_leave_the_batch_sizes_alone() {
        let groups: Vec<u32> = (0..1000).map(|sentence| sentence % 900).collect();
        let batches = sampler(&groups, 64, LastBatch::Keep).epoch(3);
        assert_eq!(sizes(&batches), [[64; 15].as_slice(), &[40]].concat());
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert!(BatchSampler::new(&[], 4, LastBatch::Keep, stream()).is_err());
        assert!(BatchSampler::new(&[0], 0, LastBatch::Keep, stream()).is_err());
        assert!(BatchSampler::new(&[0, 1], 3, LastBatch::Drop, stream()).is_err());
    }
}
