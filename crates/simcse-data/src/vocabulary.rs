//! Vocabularies of characters or words, built from training text (for TextCNN).

use crate::error::{DataError, Result};
use crate::files::{decode, read_bytes, write_whole};
use crate::text::clean;
use crate::tokenize::{CharacterPieces, Encoded, SentenceTokenizer};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

/// What one token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenUnit {
    /// Every character that is not a blank.
    Characters,
    /// A run of letters and digits; where a script writes no blanks (Han, kana), each character; any other
    /// sign by itself. Hence "iPhone14坏了!" is `iPhone14 坏 了 !`.
    Words,
}

/// How a vocabulary is built. All of it is part of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocabularyConfig {
    /// What one token is.
    pub unit: TokenUnit,
    /// Lower-case before splitting.
    pub lower_case: bool,
    /// NFKC before splitting (full-width letters and digits become half-width).
    pub nfkc: bool,
    /// Tokens seen less often than this are unknown.
    pub min_count: usize,
    /// Largest number of ids, the two reserved ones included; the rarest go first. `None` is no limit.
    pub max_size: Option<usize>,
}

/// Tokens and their ids: 0 pads, 1 is unknown, then by falling count, equal counts by code point.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    config: VocabularyConfig,
    /// Tokens from id 2 on.
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
}

/// What stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VocabularyFile {
    format: String,
    config: VocabularyConfig,
    tokens: Vec<String>,
}

const FORMAT: &str = "simcse-vocabulary-1";
const PAD_ID: u32 = 0;
const UNKNOWN_ID: u32 = 1;
const RESERVED: u32 = 2;

impl Vocabulary {
    /// Counts the tokens of `sentences` and keeps those that `config` allows.
    ///
    /// # Errors
    /// [`DataError::Config`] if `max_size` leaves room for no token or no token is left.
    pub fn build<'a>(sentences: impl IntoIterator<Item = &'a str>, config: VocabularyConfig) -> Result<Self> {
        if config.max_size.is_some_and(|size| size <= RESERVED as usize) {
            return Err(DataError::Config {
                key: "vocabulary.max_size",
                problem: "two ids are reserved, so no token fits".to_owned(),
                fix: "give at least 3".to_owned(),
            });
        }
        let mut counts: HashMap<String, usize> = HashMap::new();
        for sentence in sentences {
            for_each_token(sentence, &config, |token| match counts.get_mut(token) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(token.to_owned(), 1);
                }
            });
        }
        let mut counted: Vec<(String, usize)> =
            counts.into_iter().filter(|(_, count)| *count >= config.min_count).collect();
        // Sorting makes the order of the map irrelevant: tokens are unique, so no two entries compare equal.
        counted.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
        counted.truncate(config.max_size.map_or(usize::MAX, |size| size - RESERVED as usize));
        if counted.is_empty() {
            return Err(DataError::Config {
                key: "vocabulary.min_count",
                problem: format!("no token occurs {} times in the training text", config.min_count),
                fix: "lower it or give more text".to_owned(),
            });
        }
        Ok(Self::from_tokens(counted.into_iter().map(|(token, _)| token).collect(), config))
    }

    fn from_tokens(tokens: Vec<String>, config: VocabularyConfig) -> Self {
        let ids = (RESERVED..).zip(&tokens).map(|(id, token)| (token.clone(), id)).collect();
        Self { config, tokens, ids }
    }

    /// Reads what [`Vocabulary::save`] wrote.
    ///
    /// # Errors
    /// [`DataError::Io`] or [`DataError::Tokenizer`] if the file cannot be read, is of another format, or
    /// lists a token twice.
    pub fn load(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let fail = |problem: String| DataError::Tokenizer {
            file: name.clone(),
            problem,
            fix: "use the file that training wrote into the encoder's folder".to_owned(),
        };
        let bytes = read_bytes(path)?.bytes;
        let file: VocabularyFile =
            serde_json::from_str(decode(&name, &bytes)?).map_err(|error| fail(error.to_string()))?;
        if file.format != FORMAT {
            return Err(fail(format!("format `{}` instead of `{FORMAT}`", file.format)));
        }
        let vocabulary = Self::from_tokens(file.tokens, file.config);
        if vocabulary.ids.len() != vocabulary.tokens.len() {
            return Err(fail("a token stands twice".to_owned()));
        }
        Ok(vocabulary)
    }

    /// Writes the vocabulary as JSON, whole or not at all.
    ///
    /// # Errors
    /// [`DataError::Io`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file =
            VocabularyFile { format: FORMAT.to_owned(), config: self.config, tokens: self.tokens.clone() };
        let mut text = serde_json::to_string_pretty(&file)
            .map_err(|error| DataError::writing(path, std::io::Error::other(error)))?;
        text.push('\n');
        write_whole(path, text.as_bytes())
    }

    /// How it was built.
    pub fn config(&self) -> &VocabularyConfig {
        &self.config
    }

    /// The token of an id, or `None` for the reserved ids and beyond the end.
    pub fn token(&self, id: u32) -> Option<&str> {
        let place = id.checked_sub(RESERVED)?;
        self.tokens.get(place as usize).map(String::as_str)
    }

    /// The id of a token as it stands in the vocabulary (normalised), or `None`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }
}

impl SentenceTokenizer for Vocabulary {
    fn encode(&self, sentence: &str, max_tokens: usize) -> Encoded {
        let mut ids = Vec::new();
        for_each_token(sentence, &self.config, |token| ids.push(self.id(token).unwrap_or(UNKNOWN_ID)));
        let truncated = ids.len() > max_tokens;
        ids.truncate(max_tokens);
        let empty = ids.is_empty();
        if empty {
            ids.push(UNKNOWN_ID);
        }
        let unknown_tokens = ids.iter().filter(|id| **id == UNKNOWN_ID).count();
        Encoded { ids, truncated, unknown_tokens, empty }
    }

    fn vocabulary_size(&self) -> usize {
        self.tokens.len() + RESERVED as usize
    }

    fn pad_id(&self) -> u32 {
        PAD_ID
    }

    fn unknown_id(&self) -> u32 {
        UNKNOWN_ID
    }

    fn special_ids(&self) -> &[u32] {
        &[]
    }

    fn character_pieces(&self) -> CharacterPieces {
        let pieces = |token: &String| -> Option<Vec<u32>> {
            let pieces: Vec<u32> =
                token.chars().map(|character| self.id(&character.to_string())).collect::<Option<_>>()?;
            (pieces.len() > 1).then_some(pieces)
        };
        (RESERVED..).zip(&self.tokens).filter_map(|(id, token)| Some((id, pieces(token)?))).collect()
    }
}

fn for_each_token(sentence: &str, config: &VocabularyConfig, mut visit: impl FnMut(&str)) {
    let mut text = Cow::Borrowed(clean(sentence));
    if config.nfkc {
        text = Cow::Owned(text.nfkc().collect());
    }
    if config.lower_case {
        text = Cow::Owned(text.to_lowercase());
    }
    let joins = |character: char| {
        config.unit == TokenUnit::Words && character.is_alphanumeric() && !stands_alone(character)
    };
    let mut run_start = None;
    for (at, character) in text.char_indices() {
        if joins(character) {
            run_start.get_or_insert(at);
            continue;
        }
        if let Some(start) = run_start.take() {
            visit(&text[start..at]);
        }
        if !character.is_whitespace() && character != '\u{feff}' {
            visit(&text[at..at + character.len_utf8()]);
        }
    }
    if let Some(start) = run_start {
        visit(&text[start..]);
    }
}

/// Scripts that write no blanks between words: Han (with its extensions), hiragana and katakana.
fn stands_alone(character: char) -> bool {
    matches!(u32::from(character),
        0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHARACTERS: VocabularyConfig = VocabularyConfig {
        unit: TokenUnit::Characters,
        lower_case: true,
        nfkc: true,
        min_count: 1,
        max_size: None,
    };

    fn split(sentence: &str, config: VocabularyConfig) -> Vec<String> {
        let mut tokens = Vec::new();
        for_each_token(sentence, &config, |token| tokens.push(token.to_owned()));
        tokens
    }

    #[test]
    fn units_split_as_documented() {
        let words = VocabularyConfig { unit: TokenUnit::Words, lower_case: false, ..CHARACTERS };
        assert_eq!(split("iPhone14坏了! ok", words), ["iPhone14", "坏", "了", "!", "ok"]);
        assert_eq!(split("Ａb 花", CHARACTERS), ["a", "b", "花"]);
        assert_eq!(
            split("Ａb", VocabularyConfig { nfkc: false, lower_case: false, ..CHARACTERS }),
            ["Ａ", "b"]
        );
    }

    #[test]
    fn words_are_spelled_with_characters_that_are_known() {
        let words = VocabularyConfig { unit: TokenUnit::Words, ..CHARACTERS };
        let vocabulary = Vocabulary::build(["ab a b", "ab ac"], words).unwrap();
        let ids = |token: &str| vocabulary.id(token).unwrap();
        assert_eq!(
            vocabulary.character_pieces(),
            CharacterPieces::from([(ids("ab"), vec![ids("a"), ids("b")])])
        );
    }

    #[test]
    fn ids_go_by_falling_count_then_code_point() {
        let vocabulary = Vocabulary::build(["ccc", "bba", "a d"], CHARACTERS).unwrap();
        let tokens: Vec<_> = (0..7).map(|id| vocabulary.token(id)).collect();
        assert_eq!(tokens, [None, None, Some("c"), Some("a"), Some("b"), Some("d"), None]);
        assert_eq!(vocabulary.vocabulary_size(), 6);
    }

    #[test]
    fn rare_tokens_are_unknown() {
        let text = ["aaa bb c"];
        let frequent = Vocabulary::build(text, VocabularyConfig { min_count: 2, ..CHARACTERS }).unwrap();
        assert_eq!(frequent.encode("abc", 8).ids, [2, 3, 1]);
        let small = Vocabulary::build(text, VocabularyConfig { max_size: Some(3), ..CHARACTERS }).unwrap();
        assert_eq!(small.encode("abc", 8).ids, [2, 1, 1]);
    }

    #[test]
    fn losses_are_counted_and_said_in_one_line() {
        let vocabulary = Vocabulary::build(["abc"], CHARACTERS).unwrap();
        let tokenized = vocabulary.encode_all(&["abc", "abca", "xa", " "], 3);
        assert_eq!(tokenized.sequences, [vec![2, 3, 4], vec![2, 3, 4], vec![1, 2], vec![1]]);
        assert_eq!((tokenized.truncated, tokenized.unknown_tokens, tokenized.empty), (1, 2, 1));
        assert_eq!(
            tokenized.to_string(),
            "4 sentences, 9 tokens; 1 truncated (25.0 %), 2 unknown tokens (22.2 %), 1 empty"
        );
    }

    #[test]
    fn a_saved_vocabulary_loads_as_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocabulary.json");
        let built = Vocabulary::build(["花呗 \"引号\" ab"], CHARACTERS).unwrap();
        built.save(&path).unwrap();
        let loaded = Vocabulary::load(&path).unwrap();
        assert_eq!((loaded.config(), &loaded.tokens), (built.config(), &built.tokens));
        assert_eq!(loaded.encode("花a?", 9), built.encode("花a?", 9));
    }

    #[test]
    fn files_that_are_no_vocabulary_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocabulary.json");
        let config = r#"{"unit":"words","lower_case":true,"nfkc":true,"min_count":1,"max_size":null}"#;
        for (text, expected) in [
            ("{".to_owned(), "EOF"),
            (format!(r#"{{"format":"other","config":{config},"tokens":["a"]}}"#), "format `other`"),
            (format!(r#"{{"format":"{FORMAT}","config":{config},"tokens":["a","a"]}}"#), "stands twice"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Vocabulary::load(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("; fix: "), "{error}");
        }
    }

    #[test]
    fn nothing_to_build_from_is_an_error() {
        assert!(Vocabulary::build(["a"], VocabularyConfig { min_count: 2, ..CHARACTERS }).is_err());
        assert!(Vocabulary::build(["a"], VocabularyConfig { max_size: Some(2), ..CHARACTERS }).is_err());
    }
}
