//! The kinds of networks and of tokenizers that a directory may hold.

use std::path::Path;

use serde::{Deserialize, Serialize};
use simcse_data::{CharacterPieces, Encoded, PretrainedTokenizer, SentenceTokenizer, Vocabulary};

use crate::{Result, SentenceEncoder, TextCnn, Transformer};

const VOCABULARY: &str = "vocabulary.json";
const TOKENIZER: &str = "tokenizer.json";

/// A network of any kind.
#[derive(Debug)]
pub enum Encoder {
    /// A TextCNN.
    TextCnn(TextCnn),
    /// BERT, ALBERT or RoBERTa.
    Transformer(Box<Transformer>),
}

impl Encoder {
    /// The network, whatever it is.
    pub fn as_dyn(&self) -> &dyn SentenceEncoder {
        match self {
            Self::TextCnn(encoder) => encoder,
            Self::Transformer(encoder) => encoder.as_ref(),
        }
    }
}

impl From<TextCnn> for Encoder {
    fn from(encoder: TextCnn) -> Self {
        Self::TextCnn(encoder)
    }
}

impl From<Transformer> for Encoder {
    fn from(encoder: Transformer) -> Self {
        Self::Transformer(Box::new(encoder))
    }
}

/// A tokenizer of either kind.
#[derive(Debug, Clone)]
pub enum Tokenizer {
    /// Characters or words of one's own text.
    Vocabulary(Vocabulary),
    /// The tokenizer of a published encoder.
    Pretrained(Box<PretrainedTokenizer>),
}

/// Which of the two a directory holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenizerKind {
    #[default]
    Vocabulary,
    Pretrained,
}

impl TokenizerKind {
    pub(super) fn is_vocabulary(&self) -> bool {
        *self == Self::Vocabulary
    }
}

impl Tokenizer {
    /// The tokenizer, whatever it is.
    pub fn as_dyn(&self) -> &dyn SentenceTokenizer {
        match self {
            Self::Vocabulary(tokenizer) => tokenizer,
            Self::Pretrained(tokenizer) => tokenizer.as_ref(),
        }
    }

    pub(super) fn kind(&self) -> TokenizerKind {
        match self {
            Self::Vocabulary(_) => TokenizerKind::Vocabulary,
            Self::Pretrained(_) => TokenizerKind::Pretrained,
        }
    }

    /// Writes `vocabulary.json` or `tokenizer.json`.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Vocabulary(tokenizer) => tokenizer.save(&folder.join(VOCABULARY))?,
            Self::Pretrained(tokenizer) => tokenizer.save(&folder.join(TOKENIZER))?,
        }
        Ok(())
    }

    pub(super) fn load(folder: &Path, kind: TokenizerKind) -> Result<Self> {
        Ok(match kind {
            TokenizerKind::Vocabulary => Self::Vocabulary(Vocabulary::load(&folder.join(VOCABULARY))?),
            TokenizerKind::Pretrained => {
                PretrainedTokenizer::from_tokenizer_file(&folder.join(TOKENIZER))?.into()
            }
        })
    }
}

impl From<Vocabulary> for Tokenizer {
    fn from(tokenizer: Vocabulary) -> Self {
        Self::Vocabulary(tokenizer)
    }
}

impl From<PretrainedTokenizer> for Tokenizer {
    fn from(tokenizer: PretrainedTokenizer) -> Self {
        Self::Pretrained(Box::new(tokenizer))
    }
}

impl SentenceTokenizer for Tokenizer {
    fn encode(&self, sentence: &str, max_tokens: usize) -> Encoded {
        self.as_dyn().encode(sentence, max_tokens)
    }

    fn vocabulary_size(&self) -> usize {
        self.as_dyn().vocabulary_size()
    }

    fn pad_id(&self) -> u32 {
        self.as_dyn().pad_id()
    }

    fn unknown_id(&self) -> u32 {
        self.as_dyn().unknown_id()
    }

    fn special_ids(&self) -> &[u32] {
        self.as_dyn().special_ids()
    }

    fn mask_id(&self) -> Option<u32> {
        self.as_dyn().mask_id()
    }

    fn character_pieces(&self) -> CharacterPieces {
        self.as_dyn().character_pieces()
    }
}
