//! Tokenizers of pretrained encoders: WordPiece from `vocab.txt`, or any `tokenizer.json`.

use crate::error::{DataError, Result};
use crate::files::{decode, read_bytes};
use crate::text::clean;
use crate::tokenize::{CharacterPieces, Encoded, SentenceTokenizer};
use serde::Deserialize;
use std::path::Path;
use tokenizers::models::ModelWrapper;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

/// A tokenizer of the `tokenizers` library with the ids that the rest of the program needs.
#[derive(Debug, Clone)]
pub struct PretrainedTokenizer {
    tokenizer: Tokenizer,
    /// What the tokenizer puts before a sentence (`[CLS]`).
    prefix: Vec<u32>,
    /// What it puts after (`[SEP]`).
    suffix: Vec<u32>,
    special_ids: Vec<u32>,
    vocabulary_size: usize,
    pad_id: u32,
    unknown_id: u32,
    mask_id: Option<u32>,
}

/// What `tokenizer_config.json` says of WordPiece; its other keys are not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct WordPieceConfig {
    do_lower_case: bool,
    /// As `do_lower_case` if `None`.
    strip_accents: Option<bool>,
    tokenize_chinese_chars: bool,
}

/// The defaults of `transformers`.
impl Default for WordPieceConfig {
    fn default() -> Self {
        Self { do_lower_case: true, strip_accents: None, tokenize_chinese_chars: true }
    }
}

impl PretrainedTokenizer {
    /// The tokenizer of a model's folder: `tokenizer.json` as it is, or else `vocab.txt` with
    /// `do_lower_case`, `strip_accents` and `tokenize_chinese_chars` of `tokenizer_config.json`. What that file
    /// does not say, or where it is missing (older copies of `bert-base-chinese`), is as in `transformers`:
    /// letters are lowered, accents are stripped if letters are lowered, Chinese characters are split.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the folder has neither file; and as [`PretrainedTokenizer::from_vocab_file`]
    /// and [`PretrainedTokenizer::from_tokenizer_file`].
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if path.exists() {
            return Self::from_tokenizer_file(&path);
        }
        let path = folder.join("vocab.txt");
        if !path.exists() {
            let name = folder.display().to_string();
            return Err(unusable(&name, "neither tokenizer.json nor vocab.txt is in it"));
        }
        let config = folder.join("tokenizer_config.json");
        let config = if config.exists() {
            serde_json::from_slice(&read_bytes(&config)?.bytes)
                .map_err(|error| unusable(&config.display().to_string(), &error.to_string()))?
        } else {
            WordPieceConfig::default()
        };
        Self::word_piece(&path, config)
    }

    /// The tokenizer of BERT from its `vocab.txt`: text cleaned, Chinese characters split, accents stripped
    /// and letters lowered if `lower_case`, then the longest piece first.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Encoding`] or [`DataError::Tokenizer`] if the file cannot be read or
    /// lacks one of `[PAD] [UNK] [CLS] [SEP]`.
    pub fn from_vocab_file(path: &Path, lower_case: bool) -> Result<Self> {
        Self::word_piece(path, WordPieceConfig { do_lower_case: lower_case, ..WordPieceConfig::default() })
    }

    fn word_piece(path: &Path, config: WordPieceConfig) -> Result<Self> {
        let file = path.display().to_string();
        let bytes = read_bytes(path)?.bytes;
        let text = decode(&file, &bytes)?;
        let vocabulary =
            WordPiece::read_bytes(text.as_bytes()).map_err(|error| unusable(&file, &error.to_string()))?;
        let model = WordPiece::builder()
            .vocab(vocabulary)
            .unk_token("[UNK]".to_owned())
            .continuing_subword_prefix("##".to_owned())
            .build()
            .map_err(|error| unusable(&file, &error.to_string()))?;
        let mut tokenizer = Tokenizer::new(model);
        let id = |tokenizer: &Tokenizer, token: &str| {
            tokenizer.token_to_id(token).ok_or_else(|| unusable(&file, &format!("no token {token}")))
        };
        let (cls, sep) = (id(&tokenizer, "[CLS]")?, id(&tokenizer, "[SEP]")?);
        let WordPieceConfig { do_lower_case, strip_accents, tokenize_chinese_chars } = config;
        tokenizer
            .with_normalizer(Some(BertNormalizer::new(
                true,
                tokenize_chinese_chars,
                strip_accents,
                do_lower_case,
            )))
            .map_err(|error| unusable(&file, &error.to_string()))?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        tokenizer
            .with_post_processor(Some(BertProcessing::new(("[SEP]".into(), sep), ("[CLS]".into(), cls))));
        let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
        let present = special.iter().filter(|token| tokenizer.token_to_id(token).is_some());
        let added: Vec<AddedToken> = present.map(|token| AddedToken::from(*token, true)).collect();
        tokenizer.add_special_tokens(added).map_err(|error| unusable(&file, &error.to_string()))?;
        Self::new(tokenizer, &file)
    }

    /// Any `tokenizer.json`. Truncation and padding that it may ask for are switched off.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the file cannot be used or has no token for padding or the unknown.
    pub fn from_tokenizer_file(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let tokenizer = Tokenizer::from_bytes(read_bytes(path)?.bytes)
            .map_err(|error| unusable(&file, &error.to_string()))?;
        Self::new(tokenizer, &file)
    }

    fn new(mut tokenizer: Tokenizer, file: &str) -> Result<Self> {
        let fail = |error: tokenizers::Error| unusable(file, &error.to_string());
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(fail)?;
        let first_of = |names: &[&str]| names.iter().find_map(|name| tokenizer.token_to_id(name));
        let missing = |what: &str| unusable(file, &format!("no {what} token"));
        let pad_id = first_of(&["[PAD]", "<pad>", "<|endoftext|>"]).ok_or_else(|| missing("padding"))?;
        let unknown_id = first_of(&["[UNK]", "<unk>", "<|endoftext|>"]).ok_or_else(|| missing("unknown"))?;
        let mask_id = first_of(&["[MASK]", "<mask>"]);
        let (prefix, suffix) = frame(&tokenizer, file)?;
        let mut special_ids: Vec<u32> = prefix.iter().chain(&suffix).copied().collect();
        special_ids.sort_unstable();
        special_ids.dedup();
        // Ids may have gaps, so the number of tokens can be too small a bound.
        let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        let vocabulary_size = highest as usize + 1;
        Ok(Self { tokenizer, prefix, suffix, special_ids, vocabulary_size, pad_id, unknown_id, mask_id })
    }

    /// Writes `tokenizer.json`, whole or not at all.
    ///
    /// # Errors
    /// [`DataError::Io`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = self
            .tokenizer
            .to_string(true)
            .map_err(|error| DataError::writing(path, std::io::Error::other(error.to_string())))?;
        crate::files::write_whole(path, text.as_bytes())
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }
}

impl SentenceTokenizer for PretrainedTokenizer {
    fn encode(&self, sentence: &str, max_tokens: usize) -> Encoded {
        // A sentence that the library cannot tokenise has no tokens of its own.
        let encoding = self.tokenizer.encode_fast(clean(sentence), false).ok();
        let inner = encoding.as_ref().map_or(&[][..], |encoding| encoding.get_ids());
        let room = max_tokens.saturating_sub(self.prefix.len() + self.suffix.len()).max(1);
        let truncated = inner.len() > room;
        // `[CLS] [SEP]` is what every BERT makes of nothing; without such a frame nothing would be left.
        let is_bare = inner.is_empty() && self.prefix.is_empty() && self.suffix.is_empty();
        let kept = if is_bare { &[self.unknown_id][..] } else { &inner[..inner.len().min(room)] };
        let ids = [self.prefix.as_slice(), kept, self.suffix.as_slice()].concat();
        let unknown_tokens = kept.iter().filter(|id| **id == self.unknown_id).count();
        Encoded { ids, truncated, unknown_tokens, empty: inner.is_empty() }
    }

    fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    fn pad_id(&self) -> u32 {
        self.pad_id
    }

    fn unknown_id(&self) -> u32 {
        self.unknown_id
    }

    fn special_ids(&self) -> &[u32] {
        &self.special_ids
    }

    fn mask_id(&self) -> Option<u32> {
        self.mask_id
    }

    fn character_pieces(&self) -> CharacterPieces {
        let vocabulary = self.tokenizer.get_vocab(false);
        let added = self.tokenizer.get_added_tokens_decoder();
        let continued = continuation(self.tokenizer.get_model());
        let tokens = vocabulary.iter().filter(|(_, id)| !added.contains_key(id));
        tokens
            .filter_map(|(token, id)| {
                let (inside, text) = match token.strip_prefix(continued) {
                    Some(text) if !continued.is_empty() => (true, text),
                    _ => (false, token.as_str()),
                };
                let piece = |(place, character): (usize, char)| {
                    let before = if inside || place > 0 { continued } else { "" };
                    vocabulary.get(&format!("{before}{character}")).copied()
                };
                let pieces: Vec<u32> = text.chars().enumerate().map(piece).collect::<Option<_>>()?;
                (pieces.len() > 1).then_some((*id, pieces))
            })
            .collect()
    }
}

/// What a piece inside of a word begins with: `##` of WordPiece, nothing in most others.
fn continuation(model: &ModelWrapper) -> &str {
    match model {
        ModelWrapper::WordPiece(model) => &model.continuing_subword_prefix,
        ModelWrapper::BPE(model) => model.continuing_subword_prefix.as_deref().unwrap_or_default(),
        ModelWrapper::WordLevel(_) | ModelWrapper::Unigram(_) => "",
    }
}

/// What the post-processor puts around a sentence, found out by trying.
fn frame(tokenizer: &Tokenizer, file: &str) -> Result<(Vec<u32>, Vec<u32>)> {
    let ids = |special| {
        let encoding = tokenizer.encode("a", special).map_err(|error| unusable(file, &error.to_string()))?;
        Ok::<Vec<u32>, DataError>(encoding.get_ids().to_vec())
    };
    let (bare, framed) = (ids(false)?, ids(true)?);
    let start = framed.windows(bare.len().max(1)).position(|window| window == bare);
    let start = start.ok_or_else(|| unusable(file, "its post-processor changes the sentence"))?;
    Ok((framed[..start].to_vec(), framed[start + bare.len()..].to_vec()))
}

fn unusable(file: &str, problem: &str) -> DataError {
    DataError::Tokenizer {
        file: file.to_owned(),
        problem: problem.to_owned(),
        fix: "use the vocab.txt or tokenizer.json that belongs to the encoder".to_owned(),
    }
}
