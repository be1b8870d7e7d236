//! Masking of tokens for masked language modelling (Devlin et al. 2019, "BERT", section 3.1, "Masked LM").

use crate::batch::TokenBatch;
use crate::error::{DataError, Result};
use crate::tokenize::SentenceTokenizer;
use rand::{Rng, RngExt};
use simcse_random::Stream;
use std::collections::BTreeSet;

/// Chooses tokens to be predicted, and hides them: of the chosen tokens 80 % become `[MASK]`, 10 % a random
/// token and 10 % stay as they are.
#[derive(Debug, Clone)]
pub struct TokenMasker {
    rate: f64,
    mask_id: u32,
    vocabulary_size: u32,
    special_ids: BTreeSet<u32>,
}

/// A batch with hidden tokens, and what stood there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedTokens {
    /// The batch with hidden tokens; rows and their numbers are those of the batch given.
    pub tokens: TokenBatch,
    /// Where tokens were chosen, as positions in [`TokenBatch::ids`], rising, `[M]`; at least one.
    pub positions: Vec<u32>,
    /// The tokens that stood there, `[M]`.
    pub targets: Vec<u32>,
}

impl TokenMasker {
    /// Chooses each token with probability `rate` (.15 in the paper), but never one of `special_ids`. Random
    /// tokens are drawn uniformly from all `vocabulary_size` ids, special ones included, as the
    /// `DataCollatorForLanguageModeling` of `transformers` does.
    ///
    /// # Errors
    /// [`DataError::Config`] if `rate` is not in (0, 1], `mask_id` is `None` (a tokenizer without `[MASK]`) or
    /// not below `vocabulary_size`.
    pub fn new(rate: f64, mask_id: Option<u32>, vocabulary_size: usize, special_ids: &[u32]) -> Result<Self> {
        if !(rate > 0.0 && rate <= 1.0) {
            let problem = format!("{rate} is not in (0, 1]");
            return Err(invalid("mask rate", problem, "take the paper's .15"));
        }
        let fix = "use the tokenizer of a model that was trained by masked language modelling";
        let mask_id =
            mask_id.ok_or_else(|| invalid("mask token", "the tokenizer has none".to_owned(), fix))?;
        let size = u32::try_from(vocabulary_size).unwrap_or(u32::MAX);
        if mask_id >= size {
            let problem = format!("id {mask_id} is beyond the vocabulary of {vocabulary_size}");
            return Err(invalid("mask token", problem, fix));
        }
        Ok(Self { rate, mask_id, vocabulary_size: size, special_ids: special_ids.iter().copied().collect() })
    }

    /// The masker for sentences of this tokenizer. Neither what frames a sentence is chosen, nor padding,
    /// `[MASK]`, or the unknown token, which there is nothing to learn from.
    ///
    /// # Errors
    /// As [`TokenMasker::new`].
    pub fn for_tokenizer(rate: f64, tokenizer: &dyn SentenceTokenizer) -> Result<Self> {
        let others = [tokenizer.pad_id(), tokenizer.unknown_id()];
        let special: Vec<u32> =
            tokenizer.special_ids().iter().copied().chain(others).chain(tokenizer.mask_id()).collect();
        Self::new(rate, tokenizer.mask_id(), tokenizer.vocabulary_size(), &special)
    }

    /// Masks a batch. Each row draws from `stream.fold(view).fold(sentence)`, so its masks do not depend on the
    /// rows beside it. Where no token of the batch was chosen, one that may be is drawn from `stream`; so mask
    /// a batch before it is computed in pieces.
    ///
    /// # Errors
    /// [`DataError::Batch`] if every token is special.
    pub fn mask(&self, batch: &TokenBatch, stream: Stream) -> Result<MaskedTokens> {
        let mut ids = batch.ids().to_vec();
        let mut positions = Vec::new();
        for row in 0..batch.rows() {
            let numbers = (batch.view()[row], batch.sentence()[row]);
            let mut rng = stream.fold(u64::from(numbers.0)).fold(u64::from(numbers.1)).rng();
            for position in batch.offsets()[row]..batch.offsets()[row + 1] {
                let id = &mut ids[position as usize];
                if !self.special_ids.contains(id) && rng.random_bool(self.rate) {
                    positions.push(position);
                    *id = self.hide(*id, &mut rng);
                }
            }
        }
        if positions.is_empty() {
            let mut rng = stream.named("at least one").rng();
            let position = self.any_position(batch, &mut rng)?;
            positions.push(position);
            ids[position as usize] = self.hide(ids[position as usize], &mut rng);
        }
        let targets = positions.iter().map(|position| batch.ids()[*position as usize]).collect();
        Ok(MaskedTokens { tokens: batch.with_ids(ids), positions, targets })
    }

    /// What stands in the place of a chosen token.
    fn hide(&self, id: u32, rng: &mut impl Rng) -> u32 {
        match rng.random_range(0..10) {
            0..8 => self.mask_id,
            8 => rng.random_range(0..self.vocabulary_size),
            _ => id,
        }
    }

    fn any_position(&self, batch: &TokenBatch, rng: &mut impl Rng) -> Result<u32> {
        let eligible: Vec<u32> = (0..)
            .zip(batch.ids())
            .filter(|(_, id)| !self.special_ids.contains(id))
            .map(|(at, _)| at)
            .collect();
        if eligible.is_empty() {
            return Err(DataError::Batch("all of its tokens are special, so none can be masked".to_owned()));
        }
        Ok(eligible[rng.random_range(0..eligible.len())])
    }
}

fn invalid(key: &'static str, problem: String, fix: &str) -> DataError {
    DataError::Config { key, problem, fix: fix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::TokenRow;

    const CLS: u32 = 0;
    const SEP: u32 = 1;
    const MASK: u32 = 2;
    /// Ids of sentences lie in 3..50, so that most random tokens (50..100) are recognised.
    const VOCABULARY: usize = 100;

    fn masker(rate: f64) -> TokenMasker {
        TokenMasker::new(rate, Some(MASK), VOCABULARY, &[CLS, SEP, MASK]).unwrap()
    }

    fn sequences(count: u32, length: u32) -> Vec<Vec<u32>> {
        let inner = |sentence: u32| (0..length).map(move |at| 3 + (sentence * 7 + at) % 47);
        (0..count).map(|sentence| [CLS].into_iter().chain(inner(sentence)).chain([SEP]).collect()).collect()
    }

    fn within(count: usize, of: usize, share: f64, what: &str) {
        let (of, count) = (of as f64, count as f64);
        // Five standard deviations of a binomial.
        let limit = 5.0 * (of * share * (1.0 - share)).sqrt();
        assert!((count - of * share).abs() < limit, "{what}: {count} of {of}, expected {share}");
    }

    #[test]
    fn shares_are_those_of_the_paper() {
        let batch = TokenBatch::from_sequences(&sequences(4000, 20)).unwrap();
        let masked = masker(0.15).mask(&batch, Stream::from_seed(1)).unwrap();
        let chosen = masked.positions.len();
        within(chosen, 4000 * 20, 0.15, "chosen");
        let at = |position: &u32| masked.tokens.ids()[*position as usize];
        let pairs = || masked.positions.iter().map(at).zip(masked.targets.iter().copied());
        // A random token may be the mask (1 of 100) or the token itself (1 of 100).
        within(pairs().filter(|(now, _)| *now == MASK).count(), chosen, 0.801, "masked");
        within(pairs().filter(|(now, was)| now == was).count(), chosen, 0.101, "kept");
        within(pairs().filter(|(now, _)| *now >= 50).count(), chosen, 0.05, "random, of the upper half");
        let random: BTreeSet<u32> = pairs().map(|(now, _)| now).filter(|now| *now >= 50).collect();
        assert_eq!(random.len(), 50, "every id is drawn");
    }

    #[test]
    fn every_place_in_a_sentence_is_as_likely() {
        let batch = TokenBatch::from_sequences(&sequences(4000, 8)).unwrap();
        let masked = masker(0.3).mask(&batch, Stream::from_seed(2)).unwrap();
        for place in 1..=8 {
            let count = masked.positions.iter().filter(|position| **position % 10 == place).count();
            within(count, 4000, 0.3, &format!("place {place}"));
        }
    }

    #[test]
    fn what_is_not_chosen_stays_and_special_tokens_are_never_chosen() {
        let batch = TokenBatch::from_sequences(&sequences(300, 6)).unwrap().with_views(2).unwrap();
        let masked = masker(1.0).mask(&batch, Stream::from_seed(3)).unwrap();
        let inner: Vec<u32> = (0..batch.tokens() as u32).filter(|at| !matches!(at % 8, 0 | 7)).collect();
        assert_eq!(masked.positions, inner);
        let masked = masker(0.2).mask(&batch, Stream::from_seed(3)).unwrap();
        let mut restored = masked.tokens.ids().to_vec();
        for (position, target) in masked.positions.iter().zip(&masked.targets) {
            restored[*position as usize] = *target;
        }
        assert_eq!(restored, batch.ids());
        assert_eq!(masked.tokens.with_ids(restored), batch, "rows and numbers stay");
        assert!(masked.positions.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_row_is_masked_alike_in_any_batch_and_not_alike_in_two_views() {
        let (masker, stream) = (masker(0.3), Stream::from_seed(4).named("mask"));
        let batch = TokenBatch::from_sequences(&sequences(8, 30)).unwrap().with_views(2).unwrap();
        let whole = masker.mask(&batch, stream).unwrap();
        let piece = masker.mask(&batch.slice(5..11).unwrap(), stream).unwrap();
        for row in 5..11 {
            assert_eq!(piece.tokens.row(row - 5), whole.tokens.row(row), "row {row}");
        }
        for row in 0..8 {
            assert_ne!(whole.tokens.row(row), whole.tokens.row(row + 8), "views of sentence {row}");
        }
        assert_ne!(whole, masker.mask(&batch, stream.fold(1)).unwrap());
    }

    #[test]
    fn at_least_one_token_is_chosen() {
        let batch = TokenBatch::from_sequences(&sequences(2, 5)).unwrap();
        let masker = masker(1e-12);
        let mut chosen = BTreeSet::new();
        for seed in 0..200 {
            let masked = masker.mask(&batch, Stream::from_seed(seed)).unwrap();
            assert_eq!((masked.positions.len(), masked.targets.len()), (1, 1));
            chosen.insert(masked.positions[0]);
        }
        assert_eq!(chosen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn what_cannot_be_masked_is_an_error() {
        let row = TokenRow { ids: &[CLS, SEP], sentence: 0, view: 0 };
        let error = masker(0.15).mask(&TokenBatch::from_rows(&[row]).unwrap(), Stream::from_seed(0));
        assert!(error.unwrap_err().to_string().contains("all of its tokens are special"));
        let error = TokenMasker::new(0.15, None, 10, &[]).unwrap_err().to_string();
        assert!(error.starts_with("mask token: the tokenizer has none; fix: "), "{error}");
        assert!(TokenMasker::new(0.15, Some(10), 10, &[]).is_err());
        for rate in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(TokenMasker::new(rate, Some(2), 10, &[]).is_err(), "{rate}");
        }
    }
}
