//! The contract of tokenizers, and what tokenising a set of sentences reports.

use std::collections::BTreeMap;
use std::fmt;

/// Tokens of several characters, each with the tokens of those characters, two or more.
pub type CharacterPieces = BTreeMap<u32, Vec<u32>>;

/// One sentence as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids, special tokens included; at least one.
    pub ids: Vec<u32>,
    /// True if tokens were cut off.
    pub truncated: bool,
    /// Number of unknown tokens among `ids`.
    pub unknown_tokens: usize,
    /// True if the sentence had no token of its own.
    pub empty: bool,
}

/// Turns sentences into token ids.
pub trait SentenceTokenizer: Send + Sync {
    /// At most `max_tokens` tokens of one sentence, special tokens counted; but always the special tokens and
    /// one more. A sentence without a token becomes its special tokens or, where there are none, the unknown
    /// token, so that every sentence has an embedding.
    fn encode(&self, sentence: &str, max_tokens: usize) -> Encoded;

    /// Number of ids; every id is below it.
    fn vocabulary_size(&self) -> usize;

    /// Id that fills rows up where a padded batch is needed.
    fn pad_id(&self) -> u32;

    /// Id of what is not in the vocabulary.
    fn unknown_id(&self) -> u32;

    /// Ids that frame a sentence and that augmentation leaves alone (`[CLS]`, `[SEP]`); empty for
    /// vocabularies of our own.
    fn special_ids(&self) -> &[u32];

    /// Id of `[MASK]`, for masked language modelling.
    fn mask_id(&self) -> Option<u32> {
        None
    }

    /// Every token of several characters that can be written as tokens of one character each; none where tokens
    /// are characters.
    fn character_pieces(&self) -> CharacterPieces {
        CharacterPieces::new()
    }

    /// All sentences, with the counts that a run reports.
    fn encode_all(&self, sentences: &[&str], max_tokens: usize) -> Tokenized {
        let mut tokenized = Tokenized::default();
        for sentence in sentences {
            tokenized.push(self.encode(sentence, max_tokens));
        }
        tokenized
    }
}

/// Sentences as token ids, and what was lost on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokenized {
    /// Token ids of each sentence; none is empty.
    pub sequences: Vec<Vec<u32>>,
    /// Number of sentences that were cut.
    pub truncated: usize,
    /// Number of unknown tokens.
    pub unknown_tokens: usize,
    /// Number of sentences without a token of their own.
    pub empty: usize,
}

impl Tokenized {
    fn push(&mut self, encoded: Encoded) {
        self.sequences.push(encoded.ids);
        self.truncated += usize::from(encoded.truncated);
        self.unknown_tokens += encoded.unknown_tokens;
        self.empty += usize::from(encoded.empty);
    }

    /// Number of tokens of all sentences.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }
}

/// The report in one line: `12 sentences, 240 tokens; 1 truncated (8.3 %), 3 unknown tokens (1.2 %), 0 empty`.
impl fmt::Display for Tokenized {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        let (sentences, tokens) = (self.sequences.len(), self.tokens());
        write!(
            formatter,
            "{sentences} sentences, {tokens} tokens; {} truncated ({:.1} %), {} unknown tokens ({:.1} %), {} empty",
            self.truncated,
            percent(self.truncated, sentences),
            self.unknown_tokens,
            percent(self.unknown_tokens, tokens),
            self.empty,
        )
    }
}
