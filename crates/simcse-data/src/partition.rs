//! Batches whose sentences all come from one source.

use simcse_random::Stream;

use crate::error::{DataError, Result};
use crate::sampler::{BatchSampler, LastBatch};
use crate::shuffle::shuffle;

/// Deals the sentences of each part of a corpus into batches of their own, and the batches of all parts into one order.
///
/// The negatives of a sentence are then from its own source, where they are harder: two questions about loans are
/// nearer than a question about a loan and the caption of a picture. Each epoch has every sentence once. The order is
/// a function of (stream, epoch) alone.
#[derive(Debug, Clone)]
pub struct PartitionedSampler {
    /// Places in the corpus, and the sampler over them.
    parts: Vec<(Vec<u32>, BatchSampler)>,
    stream: Stream,
}

impl PartitionedSampler {
    /// A sampler over sentences that are all different; `part_of[i]` names the part of sentence `i`.
    ///
    /// # Errors
    /// As [`BatchSampler::new`], and on a part of one sentence, which has nothing to be told apart from.
    pub fn new(part_of: &[u32], batch_size: usize, last: LastBatch, stream: Stream) -> Result<Self> {
        let mut parts: Vec<Vec<u32>> = Vec::new();
        for (sentence, part) in (0..).zip(part_of) {
            let part = *part as usize;
            if parts.len() <= part {
                parts.resize(part + 1, Vec::new());
            }
            parts[part].push(sentence);
        }
        // With nothing at all the error is that of one part without sentences.
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let several = parts.len() > 1;
        let sampled = parts.into_iter().enumerate().filter(|(_, part)| !(several && part.is_empty())).map(
            |(number, part)| {
                if part.len() == 1 {
                    return Err(DataError::Config {
                        key: "batches_of_one_source",
                        problem: format!(
                            "source {number} (from 0) has one sentence that no other source has"
                        ),
                        fix: "leave the source or the key out".to_owned(),
                    });
                }
                let stream = stream.named("part").fold(number as u64);
                let sampler = BatchSampler::unique(part.len(), batch_size, last, stream)?;
                Ok((part, sampler))
            },
        );
        Ok(Self { parts: sampled.collect::<Result<_>>()?, stream })
    }

    /// Number of batches of an epoch; the same for every epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.parts.iter().map(|(_, sampler)| sampler.batches_per_epoch()).sum()
    }

    /// All batches of one epoch.
    pub fn epoch(&self, epoch: u64) -> Vec<Vec<u32>> {
        let mut batches: Vec<Vec<u32>> = Vec::with_capacity(self.batches_per_epoch());
        for (part, sampler) in &self.parts {
            let of_part = sampler.epoch(epoch).into_iter();
            batches.extend(of_part.map(|batch| batch.iter().map(|place| part[*place as usize]).collect()));
        }
        shuffle(&mut batches, &mut self.stream.named("order of parts").fold(epoch).rng());
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 50 sentences of part 0, none of part 1, 23 of part 2, mixed.
    fn part_of() -> Vec<u32> {
        (0..73).map(|sentence| if sentence % 3 == 1 && sentence < 69 { 2 } else { 0 }).collect()
    }

    fn sampler() -> PartitionedSampler {
        PartitionedSampler::new(&part_of(), 8, LastBatch::Keep, Stream::from_seed(3)).unwrap()
    }

    #[test]
    fn every_sentence_comes_once_in_batches_of_one_part() {
        let (part_of, epoch) = (part_of(), sampler().epoch(0));
        assert_eq!(epoch.len(), sampler().batches_per_epoch());
        let mut all: Vec<u32> = epoch.concat();
        all.sort_unstable();
        assert_eq!(all, (0..73).collect::<Vec<u32>>());
        for batch in &epoch {
            assert!(batch.len() <= 8);
            let part = part_of[batch[0] as usize];
            assert!(batch.iter().all(|sentence| part_of[*sentence as usize] == part), "{batch:?}");
        }
    }

    #[test]
    fn parts_alternate_and_epochs_differ() {
        let part_of = part_of();
        let parts: Vec<u32> = sampler().epoch(0).iter().map(|batch| part_of[batch[0] as usize]).collect();
        let mut sorted = parts.clone();
        sorted.sort_unstable();
        assert_ne!(parts, sorted, "not one part after the other");
        assert_eq!(sampler().epoch(1), sampler().epoch(1));
        assert_ne!(sampler().epoch(0), sampler().epoch(1));
    }

    #[test]
    fn no_sentence_and_one_of_a_part_are_errors() {
        let sampler =
            |part_of: &[u32]| PartitionedSampler::new(part_of, 8, LastBatch::Keep, Stream::from_seed(3));
        sampler(&[]).unwrap_err();
        let message = sampler(&[0, 0, 2]).unwrap_err().to_string();
        assert!(message.contains("source 2") && message.contains("fix: "), "{message}");
        sampler(&[0, 0, 2, 2]).unwrap();
    }
}
