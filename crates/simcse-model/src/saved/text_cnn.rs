//! The directory of a TextCNN.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use simcse_data::SentenceTokenizer as _;

use super::files::{make_folder, read_json, read_tensors, write_json, write_tensors};
use super::parts::TokenizerKind;
use super::{CONFIG, SavedEncoder, Tokenizer, WEIGHTS};
use crate::{ModelError, Result, SentenceEncoder as _, TextCnn, TextCnnConfig};

const FORMAT: u32 = 1;

/// `config.json` of a TextCNN.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryConfig {
    kind: String,
    format: u32,
    max_tokens: usize,
    text_cnn: TextCnnConfig,
    #[serde(default, skip_serializing_if = "TokenizerKind::is_vocabulary")]
    tokenizer: TokenizerKind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    prefix: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whitening: bool,
}

/// Writes the directory; `config.json` comes last and makes it loadable.
pub(super) fn save(saved: &SavedEncoder, encoder: &TextCnn, folder: &Path) -> Result<()> {
    make_folder(folder)?;
    saved.tokenizer.save(folder)?;
    let parameters = encoder.parameters().iter();
    let tensors: Vec<(String, Tensor)> =
        parameters.map(|(name, variable)| (name.to_owned(), variable.as_tensor().clone())).collect();
    write_tensors(&folder.join(WEIGHTS), &tensors)?;
    saved.save_whitening(folder)?;
    let config = DirectoryConfig {
        kind: "text_cnn".to_owned(),
        format: FORMAT,
        max_tokens: saved.max_tokens,
        text_cnn: encoder.config().clone(),
        tokenizer: saved.tokenizer.kind(),
        prefix: saved.prefix.clone(),
        whitening: saved.whitening.is_some(),
    };
    write_json(&folder.join(CONFIG), &config)
}

pub(super) fn load(folder: &Path) -> Result<SavedEncoder> {
    let config = read_config(&folder.join(CONFIG))?;
    let tokenizer = Tokenizer::load(folder, config.tokenizer)?;
    let path = folder.join(WEIGHTS);
    let encoder = build(&path, config.text_cnn, &read_tensors(&path)?)?;
    let (rows, tokens) = (encoder.vocabulary_size(), tokenizer.vocabulary_size());
    if rows != tokens {
        let problem = format!(
            "has {rows} token vectors for {tokens} tokens; fix: copy the encoder directory again, whole"
        );
        return Err(ModelError::file(&path, problem));
    }
    let whitening = SavedEncoder::load_whitening(folder, config.whitening, encoder.embedding_size())?;
    let max_tokens = config.max_tokens;
    Ok(SavedEncoder { encoder: encoder.into(), tokenizer, prefix: config.prefix, max_tokens, whitening })
}

fn read_config(path: &Path) -> Result<DirectoryConfig> {
    let config: DirectoryConfig = read_json(path)?;
    if config.kind != "text_cnn" || config.format != FORMAT {
        let problem = format!(
            "kind {:?}, format {}: this version reads text_cnn, format {FORMAT}",
            config.kind, config.format
        );
        return Err(ModelError::file(path, problem));
    }
    Ok(config)
}

fn build(path: &Path, config: TextCnnConfig, tensors: &HashMap<String, Tensor>) -> Result<TextCnn> {
    let encoder = TextCnn::from_tensors(config, |name| {
        tensors.get(name).cloned().ok_or_else(|| candle_core::Error::Msg(format!("weight {name} is missing")))
    })
    .map_err(|error| ModelError::file(path, error))?;
    let mut unexpected: Vec<&str> =
        tensors.keys().map(String::as_str).filter(|name| encoder.parameters().get(name).is_none()).collect();
    unexpected.sort_unstable();
    match unexpected.is_empty() {
        true => Ok(encoder),
        false => Err(ModelError::file(path, format!("unexpected weights: {}", unexpected.join(", ")))),
    }
}
