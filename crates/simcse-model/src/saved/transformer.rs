//! The directory of a transformer: ours, and sentence-transformers' at once.

use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use simcse_data::SentenceTokenizer as _;
use simcse_random::Stream;

use super::files::{make_folder, read_json, read_tensors, write_json, write_tensors};
use super::parts::TokenizerKind;
use super::{CONFIG, SavedEncoder, Tokenizer, WEIGHTS, check_vocabulary, modules};
use crate::{ModelError, Pooling, Result, SentenceEncoder as _, Transformer, TransformerOptions};

pub(super) const OWN: &str = "simcse.json";
const HEAD: &str = "head.safetensors";
const FORMAT: u32 = 1;

/// `simcse.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryConfig {
    kind: String,
    format: u32,
    pooling: Pooling,
    prefix: String,
    max_tokens: usize,
    tokenizer: TokenizerKind,
    whitening: bool,
}

/// Writes the directory; `simcse.json` comes last and makes it ours.
pub(super) fn save(saved: &SavedEncoder, encoder: &Transformer, folder: &Path) -> Result<()> {
    make_folder(folder)?;
    saved.tokenizer.save(folder)?;
    let parameters = encoder.parameters().iter();
    let tensors = parameters.map(|(name, variable)| (name.to_owned(), variable.as_tensor().clone()));
    let (head, network): (Vec<(String, Tensor)>, Vec<_>) =
        tensors.partition(|(name, _)| name.starts_with("head."));
    write_tensors(&folder.join(WEIGHTS), &network)?;
    if !head.is_empty() {
        write_tensors(&folder.join(HEAD), &head)?;
    }
    saved.save_whitening(folder)?;
    write_json(&folder.join(CONFIG), &modules::network_config(encoder))?;
    modules::save(saved, encoder, folder)?;
    let own = DirectoryConfig {
        kind: "transformer".to_owned(),
        format: FORMAT,
        pooling: encoder.options().pooling,
        prefix: saved.prefix.clone(),
        max_tokens: saved.max_tokens,
        tokenizer: saved.tokenizer.kind(),
        whitening: saved.whitening.is_some(),
    };
    write_json(&folder.join(OWN), &own)
}

pub(super) fn load(folder: &Path) -> Result<SavedEncoder> {
    let path = folder.join(OWN);
    let own: DirectoryConfig = read_json(&path)?;
    if own.kind != "transformer" || own.format != FORMAT {
        let (kind, format) = (own.kind, own.format);
        let problem =
            format!("kind {kind:?}, format {format}: this version reads transformer, format {FORMAT}");
        return Err(ModelError::file(&path, problem));
    }
    let tokenizer = Tokenizer::load(folder, own.tokenizer)?;
    let options = TransformerOptions::evaluation(own.pooling);
    let encoder = Transformer::load(folder, &options, Stream::from_seed(0))?;
    load_head(&folder.join(HEAD), &encoder)?;
    check_vocabulary(&folder.join(WEIGHTS), encoder.config().vocab_size, tokenizer.vocabulary_size())?;
    let whitening = SavedEncoder::load_whitening(folder, own.whitening, encoder.embedding_size())?;
    let (prefix, max_tokens) = (own.prefix, own.max_tokens);
    Ok(SavedEncoder { encoder: encoder.into(), tokenizer, prefix, max_tokens, whitening })
}

/// Sets the parameters of the pooling, if it has any, to those in the file.
fn load_head(path: &Path, encoder: &Transformer) -> Result<()> {
    let mut head = encoder.parameters().iter().filter(|(name, _)| name.starts_with("head.")).peekable();
    if head.peek().is_none() {
        return Ok(());
    }
    let tensors = read_tensors(path)?;
    for (name, variable) in head {
        let value = tensors.get(name).filter(|value| value.dims() == variable.dims()).ok_or_else(|| {
            let shape = variable.dims();
            ModelError::file(
                path,
                format!("lacks {name} {shape:?}; fix: copy the encoder directory again, whole"),
            )
        })?;
        variable.set(value)?;
    }
    Ok(())
}
