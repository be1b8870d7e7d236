//! The `[augmentation]` section of a configuration.

use crate::error::{DataError, Result};
use serde::{Deserialize, Serialize};

/// How much of each augmentation; 0 turns one off. Applied in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentationConfig {
    /// Probability with which each token of several characters is written as those characters, so that words and
    /// their characters are views of each other: subword regularisation (Kudo 2018; BPE-dropout, Provilkov et al.
    /// 2020) down to characters. In `[0, 1]`; needs [`Augmenter::for_tokenizer`](super::Augmenter::for_tokenizer).
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
    /// [`Augmenter::for_tokenizer`](super::Augmenter::for_tokenizer) and a tokenizer that has one. (Gao et al. 2021,
    /// table 1, "MLM", put what a masked language model predicts in its place.)
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
