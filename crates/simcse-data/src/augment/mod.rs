//! Augmentations of token sequences: alternatives and additions to dropout as the only difference of views.

mod config;
#[cfg(test)]
mod tests;

pub use config::AugmentationConfig;

use crate::error::{DataError, Result};
use crate::shuffle::{below, shuffle, unit};
use crate::tokenize::{CharacterPieces, SentenceTokenizer};
use simcse_random::{ChaCha8Rng, Stream};

/// A checked configuration with the ids that stay where they are.
#[derive(Debug, Clone)]
pub struct Augmenter {
    config: AugmentationConfig,
    special_ids: Vec<u32>,
    /// Tokens of several characters, and their characters.
    characters: CharacterPieces,
    mask_id: Option<u32>,
    /// Splitting stops before a sentence has more tokens than this.
    most_tokens: usize,
}

impl Augmenter {
    /// Leading and trailing tokens of `special_ids` (`[CLS]`, `[SEP]`) are never touched.
    ///
    /// # Errors
    /// As [`AugmentationConfig::validate`]; and if tokens are to be split, of which nothing is known here.
    pub fn new(config: AugmentationConfig, special_ids: &[u32]) -> Result<Self> {
        Self::with_vocabulary(config, special_ids, CharacterPieces::new(), None, usize::MAX)
    }

    /// As [`Augmenter::new`], for sentences of this tokenizer. Splitting into characters stops before a sentence
    /// has more than `most_tokens` tokens: what the encoder reads.
    ///
    /// # Errors
    /// As [`AugmentationConfig::validate`]; if tokens are to be split and all of them are single characters; and if they
    /// are to be masked and the tokenizer has no mask.
    pub fn for_tokenizer(
        config: AugmentationConfig,
        tokenizer: &dyn SentenceTokenizer,
        most_tokens: usize,
    ) -> Result<Self> {
        let split = config.character_split > 0.0;
        let characters = if split { tokenizer.character_pieces() } else { CharacterPieces::new() };
        Self::with_vocabulary(config, tokenizer.special_ids(), characters, tokenizer.mask_id(), most_tokens)
    }

    fn with_vocabulary(
        config: AugmentationConfig,
        special_ids: &[u32],
        characters: CharacterPieces,
        mask_id: Option<u32>,
        most_tokens: usize,
    ) -> Result<Self> {
        config.validate()?;
        if config.masking > 0.0 && mask_id.is_none() {
            return Err(DataError::Config {
                key: "augmentation.masking",
                problem: "the tokenizer has no mask token".to_owned(),
                fix: "set it to 0, or use the tokenizer of a masked language model".to_owned(),
            });
        }
        if config.character_split > 0.0 && characters.is_empty() {
            return Err(DataError::Config {
                key: "augmentation.character_split",
                problem: "no token of this vocabulary can be written as several characters".to_owned(),
                fix: "set it to 0, or use a vocabulary of words or pieces".to_owned(),
            });
        }
        Ok(Self { config, special_ids: special_ids.to_vec(), characters, mask_id, most_tokens })
    }

    /// The augmented sequence, a function of `ids` and `stream` alone; make the stream from seed, step, view
    /// and sentence. Never empty unless `ids` is. Repetition can make it longer by `max(2, ⌊rate·N⌋)` tokens:
    /// leave that room below the encoder's largest position.
    pub fn augment(&self, ids: &[u32], stream: Stream) -> Vec<u32> {
        let is_special = |id: &&u32| self.special_ids.contains(id);
        let front = ids.iter().take_while(is_special).count();
        let back = ids[front..].iter().rev().take_while(is_special).count();
        let (head, rest) = ids.split_at(front);
        let (inner, tail) = rest.split_at(rest.len() - back);
        let mut augmented = head.to_vec();
        let room = self.most_tokens.saturating_sub(ids.len());
        augmented.extend(self.augment_inner(inner.to_vec(), room, stream));
        augmented.extend_from_slice(tail);
        augmented
    }

    /// `room`: tokens by which splitting may make the sentence longer.
    fn augment_inner(&self, mut ids: Vec<u32>, room: usize, stream: Stream) -> Vec<u32> {
        // Each augmentation has its own stream: turning one on leaves the draws of the others alone.
        let rng = |name| stream.named(name).rng();
        let config = &self.config;
        if config.character_split > 0.0 {
            ids = self.split(&ids, room, &mut rng("character_split"));
        }
        if config.crop > 0.0 {
            ids = crop(&ids, config.crop, &mut rng("crop"));
        }
        if config.span_deletion > 0.0 {
            delete_span(&mut ids, config.span_deletion, &mut rng("span_deletion"));
        }
        if config.deletion > 0.0 {
            ids = delete(&ids, config.deletion, &mut rng("deletion"));
        }
        if config.deleted_tokens > 0 {
            delete_some(&mut ids, config.deleted_tokens, &mut rng("deleted_tokens"));
        }
        if let Some(mask) = self.mask_id.filter(|_| config.masking > 0.0) {
            let mut generator = rng("masking");
            ids.iter_mut().filter(|_| unit(&mut generator) < config.masking).for_each(|id| *id = mask);
        }
        if config.repetition > 0.0 {
            ids = repeat(&ids, config.repetition, &mut rng("repetition"));
        }
        if config.shuffle_window > 1 {
            let mut generator = rng("shuffle_window");
            ids.chunks_mut(config.shuffle_window).for_each(|window| shuffle(window, &mut generator));
        }
        let mut generator = rng("full_shuffle");
        if config.full_shuffle > 0.0 && unit(&mut generator) < config.full_shuffle {
            shuffle(&mut ids, &mut generator);
        }
        ids
    }

    fn split(&self, ids: &[u32], mut room: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let mut pieces = Vec::with_capacity(2 * ids.len());
        for id in ids {
            // Drawn for every token, so that a draw does not depend on the vocabulary.
            let chosen = unit(rng) < self.config.character_split;
            match self.characters.get(id).filter(|split| chosen && split.len() - 1 <= room) {
                Some(split) => {
                    room -= split.len() - 1;
                    pieces.extend_from_slice(split);
                }
                None => pieces.push(*id),
            }
        }
        pieces
    }
}

/// ⌊rate·length⌋; below `length` because the rate is below 1, so that a token is always left.
fn share(length: usize, rate: f64) -> usize {
    (length as f64 * rate) as usize
}

fn crop(ids: &[u32], rate: f64, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let cut = share(ids.len(), rate);
    let start = below(rng, cut + 1);
    ids[start..start + ids.len() - cut].to_vec()
}

fn delete_span(ids: &mut Vec<u32>, rate: f64, rng: &mut ChaCha8Rng) {
    let length = share(ids.len(), rate);
    let start = below(rng, ids.len() - length + 1);
    ids.drain(start..start + length);
}

fn delete(ids: &[u32], rate: f64, rng: &mut ChaCha8Rng) -> Vec<u32> {
    if ids.is_empty() {
        return Vec::new();
    }
    let survivor = below(rng, ids.len());
    let kept: Vec<u32> = ids.iter().copied().filter(|_| unit(rng) >= rate).collect();
    if kept.is_empty() { vec![ids[survivor]] } else { kept }
}

fn delete_some(ids: &mut Vec<u32>, count: usize, rng: &mut ChaCha8Rng) {
    for _ in 0..count.min(ids.len().saturating_sub(1)) {
        ids.remove(below(rng, ids.len()));
    }
}

fn repeat(ids: &[u32], rate: f64, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let most = share(ids.len(), rate).max(2);
    let count = below(rng, most + 1).min(ids.len());
    let mut places: Vec<usize> = (0..ids.len()).collect();
    shuffle(&mut places, rng);
    let mut doubled = vec![false; ids.len()];
    places[..count].iter().for_each(|&place| doubled[place] = true);
    let times = |double: bool| if double { 2 } else { 1 };
    ids.iter().zip(doubled).flat_map(|(&id, double)| std::iter::repeat_n(id, times(double))).collect()
}
