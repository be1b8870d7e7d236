//! Where each sentence of a ragged batch begins and ends.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, bail};

/// Offsets of the sentences in a batch whose tokens stand end to end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Segments {
    offsets: Arc<[u32]>,
}

impl Segments {
    /// `offsets` has one entry more than there are sentences: sentence `s` owns the tokens
    /// `offsets[s]..offsets[s + 1]`. A sentence may be empty.
    ///
    /// Fails when the offsets do not start at 0 or fall anywhere.
    pub fn new(offsets: &[u32]) -> Result<Self> {
        if offsets.first() != Some(&0) {
            bail!("segment offsets must start with 0, got {:?}", offsets.first());
        }
        if let Some(pair) = offsets.windows(2).find(|pair| pair[0] > pair[1]) {
            bail!("segment offsets must not fall, got {} after {}", pair[1], pair[0]);
        }
        Ok(Self { offsets: offsets.into() })
    }

    /// Number of sentences `S`.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sentence at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens `T` of all sentences.
    pub fn tokens(&self) -> usize {
        self.offsets[self.len()] as usize
    }

    /// Whether a sentence has no tokens.
    pub fn any_empty(&self) -> bool {
        self.offsets.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// One token for each of `sentences` sentences.
    pub fn of_single_tokens(sentences: usize) -> Self {
        Self { offsets: (0..=sentences as u32).collect() }
    }

    /// The tokens of one sentence.
    pub fn range(&self, sentence: usize) -> Range<usize> {
        self.offsets[sentence] as usize..self.offsets[sentence + 1] as usize
    }

    /// Cuts the sentences into runs of about `tokens` tokens (one sentence at the least). The cut depends
    /// on the batch alone, so sums over blocks have one order on every machine.
    pub(crate) fn blocks(&self, tokens: usize) -> Vec<Range<usize>> {
        let mut blocks = Vec::new();
        let mut start = 0;
        for sentence in 0..self.len() {
            if self.range(sentence).end - self.range(start).start > tokens && sentence > start {
                blocks.push(start..sentence);
                start = sentence;
            }
        }
        if start < self.len() {
            blocks.push(start..self.len());
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_sentence_once() {
        let segments = Segments::new(&[0, 3, 3, 10, 12, 30, 31]).unwrap();
        for tokens in [1, 5, 12, 100] {
            let blocks = segments.blocks(tokens);
            let flat: Vec<usize> = blocks.iter().cloned().flatten().collect();
            assert_eq!(flat, (0..6).collect::<Vec<_>>(), "block size {tokens}");
        }
        assert_eq!(segments.blocks(12), [0..4, 4..5, 5..6]);
    }

    #[test]
    fn bad_offsets_are_refused() {
        assert!(Segments::new(&[]).is_err());
        assert!(Segments::new(&[1, 2]).is_err());
        assert!(Segments::new(&[0, 4, 2]).is_err());
    }
}
