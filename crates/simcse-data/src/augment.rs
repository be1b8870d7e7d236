//! Augmentations of token sequences: alternatives and additions to dropout as the only difference of views.

use crate::error::{DataError, Result};
use crate::shuffle::{below, shuffle, unit};
use crate::tokenize::{CharacterPieces, SentenceTokenizer};
use serde::{Deserialize, Serialize};
use simcse_random::{ChaCha8Rng, Stream};

/// How much of each augmentation; 0 turns one off. Applied in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentationConfig {
    /// Probability with which each token of several characters is written as those characters, so that words and
    /// their characters are views of each other: subword regularisation (Kudo 2018; BPE-dropout, Provilkov et al.
    /// 2020) down to characters. In `[0, 1]`; needs [`Augmenter::for_tokenizer`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub character_split: f64,
    /// Share of the tokens that a crop cuts off, at both ends together, rounded down. In `[0, 1)`.
    pub crop: f64,
    /// Share of the tokens that one contiguous span takes out, rounded down. In `[0, 1)`.
    pub span_deletion: f64,
    /// Probability with which each token is deleted. In `[0, 1)`.
    pub deletion: f64,
    /// Exactly this many tokens are deleted, fewer where fewer than one would be left ("delete one word" of Gao et al.
    /// 2021, table 1).
    #[serde(default, skip_serializing_if = "is_none")]
    pub deleted_tokens: usize,
    /// Probability with which each token is replaced by the mask token, in `[0, 1)`; needs
    /// [`Augmenter::for_tokenizer`] and a tokenizer that has one. (Gao et al. 2021, table 1, "MLM", put what a
    /// masked language model predicts in its place.)
    #[serde(default, skip_serializing_if = "is_zero")]
    pub masking: f64,
    /// Word repetition of ESimCSE (Wu et al. 2022, eq. 2): of `N` tokens, a number uniform in
    /// `[0, max(2, ⌊rate·N⌋)]`, drawn without replacement, is written twice. The paper's rate is 0.32.
    pub repetition: f64,
    /// Tokens are shuffled within windows of this many; 0 and 1 are off.
    pub shuffle_window: usize,
    /// Probability with which the whole sentence is shuffled. In `[0, 1]`.
    pub full_shuffle: f64,
}

impl AugmentationConfig {
    /// No augmentation at all.
    pub const OFF: Self = Self {
        character_split: 0.0,
        crop: 0.0,
        span_deletion: 0.0,
        deletion: 0.0,
        deleted_tokens: 0,
        masking: 0.0,
        repetition: 0.0,
        shuffle_window: 0,
        full_shuffle: 0.0,
    };

    /// True if sequences come out as they went in.
    pub fn is_off(&self) -> bool {
        let window_is_off = self.shuffle_window < 2;
        Self { shuffle_window: 0, ..*self } == Self::OFF && window_is_off
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`DataError::Config`] with the key that is out of range.
    pub fn validate(&self) -> Result<()> {
        let below_one = [
            ("augmentation.crop", self.crop),
            ("augmentation.span_deletion", self.span_deletion),
            ("augmentation.deletion", self.deletion),
            ("augmentation.masking", self.masking),
            ("augmentation.repetition", self.repetition),
        ];
        for (key, value) in below_one {
            if !(0.0..1.0).contains(&value) {
                return Err(out_of_range(key, value, "[0, 1)"));
            }
        }
        let at_most_one = [
            ("augmentation.character_split", self.character_split),
            ("augmentation.full_shuffle", self.full_shuffle),
        ];
        for (key, value) in at_most_one {
            if !(0.0..=1.0).contains(&value) {
                return Err(out_of_range(key, value, "[0, 1]"));
            }
        }
        Ok(())
    }
}

/// Configurations that were written before the key was there keep their text, and so their hash.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// As [`is_zero`], of a number of tokens.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

fn out_of_range(key: &'static str, value: f64, range: &str) -> DataError {
    DataError::Config {
        key,
        problem: format!("{value} is out of range"),
        fix: format!("choose a value in {range}"),
    }
}

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
        augmented.extend(self.augment_inner(inner.to_vec(), stream));
        augmented.extend_from_slice(tail);
        augmented
    }

    fn augment_inner(&self, mut ids: Vec<u32>, stream: Stream) -> Vec<u32> {
        // Each augmentation has its own stream: turning one on leaves the draws of the others alone.
        let rng = |name| stream.named(name).rng();
        let config = &self.config;
        if config.character_split > 0.0 {
            ids = self.split(&ids, &mut rng("character_split"));
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

    fn split(&self, ids: &[u32], rng: &mut ChaCha8Rng) -> Vec<u32> {
        let mut room = self.most_tokens.saturating_sub(ids.len());
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

#[cfg(test)]
mod tests {
    use super::*;

    const CLS: u32 = 101;
    const SEP: u32 = 102;

    fn augmented(config: AugmentationConfig, ids: &[u32], number: u64) -> Vec<u32> {
        let stream = Stream::from_seed(3).named("augment").fold(number);
        Augmenter::new(config, &[CLS, SEP]).unwrap().augment(ids, stream)
    }

    fn is_subsequence(part: &[u32], whole: &[u32]) -> bool {
        let mut rest = whole.iter();
        part.iter().all(|id| rest.any(|other| other == id))
    }

    const EVERYTHING: AugmentationConfig = AugmentationConfig {
        character_split: 0.0,
        crop: 0.9,
        span_deletion: 0.9,
        deletion: 0.9,
        deleted_tokens: 3,
        masking: 0.0,
        repetition: 0.9,
        shuffle_window: 3,
        full_shuffle: 1.0,
    };

    #[test]
    fn off_changes_nothing() {
        let ids: Vec<u32> = (1..30).collect();
        assert!(AugmentationConfig::OFF.is_off() && !EVERYTHING.is_off());
        assert_eq!(augmented(AugmentationConfig::OFF, &ids, 0), ids);
    }

    #[test]
    fn no_sentence_is_emptied_and_special_tokens_stay() {
        for length in 1..12_u32 {
            let ids: Vec<u32> = [CLS].into_iter().chain(1..=length).chain([SEP]).collect();
            for number in 0..200 {
                let result = augmented(EVERYTHING, &ids, number);
                assert!(result.len() >= 3, "{result:?}");
                assert_eq!((result[0], result[result.len() - 1]), (CLS, SEP));
            }
        }
        assert_eq!(augmented(EVERYTHING, &[CLS, SEP], 0), [CLS, SEP]);
        assert!(augmented(EVERYTHING, &[], 0).is_empty());
    }

    #[test]
    fn same_stream_same_result_other_stream_other_result() {
        let ids: Vec<u32> = (1..40).collect();
        let config = AugmentationConfig { deletion: 0.3, ..AugmentationConfig::OFF };
        assert_eq!(augmented(config, &ids, 1), augmented(config, &ids, 1));
        assert_ne!(augmented(config, &ids, 1), augmented(config, &ids, 2));
    }

    #[test]
    fn deletion_deletes_at_its_rate_and_keeps_the_order() {
        let ids: Vec<u32> = (200..300).collect();
        let config = AugmentationConfig { deletion: 0.2, ..AugmentationConfig::OFF };
        let results: Vec<Vec<u32>> = (0..200).map(|number| augmented(config, &ids, number)).collect();
        assert!(results.iter().all(|result| is_subsequence(result, &ids)));
        let kept: usize = results.iter().map(Vec::len).sum();
        // 20,000 tokens, p = 0.8: five standard deviations are 283.
        assert!(kept.abs_diff(16_000) < 283, "{kept}");
    }

    #[test]
    fn as_many_tokens_as_asked_for_are_deleted_and_one_is_left() {
        let ids: Vec<u32> = (200..210).collect();
        let mut gone = std::collections::BTreeSet::<u32>::new();
        for number in 0..200 {
            let config = AugmentationConfig { deleted_tokens: 1, ..AugmentationConfig::OFF };
            let result = augmented(config, &ids, number);
            assert!(result.len() == 9 && is_subsequence(&result, &ids), "{result:?}");
            gone.extend(ids.iter().filter(|id| !result.contains(id)));
            let config = AugmentationConfig { deleted_tokens: 20, ..AugmentationConfig::OFF };
            assert_eq!(augmented(config, &ids, number).len(), 1);
        }
        assert_eq!(gone.len(), 10, "every token can go");
    }

    #[test]
    fn tokens_are_masked_at_the_rate_where_there_is_a_mask() {
        let config = AugmentationConfig { masking: 0.25, ..AugmentationConfig::OFF };
        let error = Augmenter::new(config, &[]).unwrap_err().to_string();
        assert!(error.starts_with("augmentation.masking: the tokenizer has no mask token; fix: "), "{error}");
        let pieces = CharacterPieces::new();
        let augmenter = Augmenter::with_vocabulary(config, &[CLS, SEP], pieces, Some(103), 99).unwrap();
        let ids: Vec<u32> = [CLS].into_iter().chain(200..220).chain([SEP]).collect();
        let results = (0..500).map(|number| augmenter.augment(&ids, Stream::from_seed(6).fold(number)));
        let results: Vec<Vec<u32>> = results.collect();
        assert!(results.iter().all(|result| result.len() == 22 && result[0] == CLS && result[21] == SEP));
        let same = |result: &&Vec<u32>| result.iter().zip(&ids).all(|(now, then)| now == then || *now == 103);
        assert!(results.iter().all(|result| same(&result)));
        let masked = results.iter().flatten().filter(|id| **id == 103).count();
        // 10,000 tokens, p = .25: five standard deviations are 217.
        assert!(masked.abs_diff(2500) < 217, "{masked}");
    }

    #[test]
    fn crop_and_span_take_exactly_their_share() {
        let ids: Vec<u32> = (200..220).collect();
        let crops = AugmentationConfig { crop: 0.25, ..AugmentationConfig::OFF };
        let spans = AugmentationConfig { span_deletion: 0.25, ..AugmentationConfig::OFF };
        let mut starts = std::collections::BTreeSet::new();
        for number in 0..200 {
            let cropped = augmented(crops, &ids, number);
            assert_eq!((cropped.len(), cropped[14] - cropped[0]), (15, 14), "one contiguous piece");
            starts.insert(cropped[0]);
            let spanned = augmented(spans, &ids, number);
            let gaps = spanned.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
            assert!(spanned.len() == 15 && gaps <= 1, "{spanned:?}");
        }
        assert_eq!(starts.len(), 6, "every start is possible");
    }

    /// The distribution of ESimCSE's `word_repetition` (`dup_len = randint(0, max(2, int(dup_rate * N)))`).
    #[test]
    fn repetition_doubles_zero_to_the_limit_uniformly() {
        let config = AugmentationConfig { repetition: 0.32, ..AugmentationConfig::OFF };
        for (length, most) in [(4_u32, 2), (10, 3), (20, 6)] {
            let ids: Vec<u32> = (200..200 + length).collect();
            let mut counts = vec![0_u32; most + 1];
            for number in 0..4200 {
                let mut result = augmented(config, &ids, number);
                counts[result.len() - ids.len()] += 1;
                result.dedup();
                assert_eq!(result, ids, "repeats stand beside their word");
            }
            let expected = 4200 / (most as u32 + 1);
            assert!(counts.iter().all(|count| count.abs_diff(expected) < 160), "{counts:?}");
        }
    }

    #[test]
    fn local_shuffle_stays_in_its_windows() {
        let ids: Vec<u32> = (200..220).collect();
        let config = AugmentationConfig { shuffle_window: 4, ..AugmentationConfig::OFF };
        let result = augmented(config, &ids, 0);
        assert_ne!(result, ids);
        for (window, original) in result.chunks(4).zip(ids.chunks(4)) {
            let mut sorted = window.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, original);
        }
    }

    #[test]
    fn full_shuffle_happens_at_its_probability() {
        let ids: Vec<u32> = (200..220).collect();
        let config = AugmentationConfig { full_shuffle: 0.25, ..AugmentationConfig::OFF };
        let shuffled = (0..1000).filter(|&number| augmented(config, &ids, number) != ids).count();
        assert!(shuffled.abs_diff(250) < 69, "{shuffled}");
    }

    /// Writes token 7 as 70 71 72; every other token is a character.
    fn split(rate: f64, most_tokens: usize, ids: &[u32], number: u64) -> Vec<u32> {
        let config = AugmentationConfig { character_split: rate, ..AugmentationConfig::OFF };
        let pieces = CharacterPieces::from([(7, vec![70, 71, 72])]);
        let augmenter = Augmenter::with_vocabulary(config, &[CLS, SEP], pieces, None, most_tokens).unwrap();
        augmenter.augment(ids, Stream::from_seed(5).fold(number))
    }

    #[test]
    fn tokens_are_split_into_their_characters_at_the_rate() {
        assert_eq!(split(1.0, 99, &[CLS, 1, 7, 2, 7, SEP], 0), [CLS, 1, 70, 71, 72, 2, 70, 71, 72, SEP]);
        let results: Vec<Vec<u32>> = (0..500).map(|number| split(0.25, 99, &[7; 20], number)).collect();
        let chosen: usize = results.iter().map(|result| (result.len() - 20) / 2).sum();
        // 10,000 tokens, p = .25: five standard deviations are 217.
        assert!(chosen.abs_diff(2500) < 217, "{chosen}");
    }

    #[test]
    fn splitting_stops_where_the_encoder_reads_no_further() {
        assert_eq!(split(1.0, 8, &[7, 7, 7, 1], 0), [70, 71, 72, 70, 71, 72, 7, 1]);
        assert_eq!(split(1.0, 3, &[7, 7, 7, 1], 0), [7, 7, 7, 1], "already too long");
    }

    #[test]
    fn a_vocabulary_of_characters_has_nothing_to_split() {
        let config = AugmentationConfig { character_split: 0.5, ..AugmentationConfig::OFF };
        let error = Augmenter::new(config, &[]).unwrap_err().to_string();
        assert!(error.starts_with("augmentation.character_split: no token of this vocabulary"), "{error}");
    }

    #[test]
    fn rates_out_of_range_name_their_key() {
        let config = AugmentationConfig { deletion: 1.0, ..AugmentationConfig::OFF };
        let error = Augmenter::new(config, &[]).unwrap_err().to_string();
        assert_eq!(error, "augmentation.deletion: 1 is out of range; fix: choose a value in [0, 1)");
        assert!(AugmentationConfig { crop: f64::NAN, ..AugmentationConfig::OFF }.validate().is_err());
    }
}
