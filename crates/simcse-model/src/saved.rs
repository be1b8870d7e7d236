//! A TextCNN encoder as a directory.
//!
//! | file | what |
//! |---|---|
//! | `config.json` | kind and format version, shape of the network, `max_tokens` |
//! | `vocabulary.json` | tokens and how text is cut into them |
//! | `model.safetensors` | float32 parameters, names and shapes as in [`TextCnn::from_tensors`] |
//! | `whitening.safetensors` | where `config.json` says `"whitening": true`: `mean` `[D]`, `weight` `[D, K]` |
//!
//! Whatever decides an embedding at test time stands here, so training and test cannot differ.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use simcse_data::{SentenceTokenizer as _, Vocabulary, write_whole};

use crate::embed::{Embedded, embed};
use crate::{ModelError, Result, SentenceEncoder as _, TextCnn, TextCnnConfig, Whitening};

const FORMAT: u32 = 1;
const CONFIG: &str = "config.json";
const VOCABULARY: &str = "vocabulary.json";
const WEIGHTS: &str = "model.safetensors";
const WHITENING: &str = "whitening.safetensors";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryConfig {
    kind: String,
    format: u32,
    max_tokens: usize,
    text_cnn: TextCnnConfig,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whitening: bool,
}

/// An encoder with everything that it needs to embed text.
#[derive(Debug)]
pub struct SavedEncoder {
    /// The network.
    pub encoder: TextCnn,
    /// How text becomes token ids.
    pub vocabulary: Vocabulary,
    /// Tokens of a sentence beyond this number are cut off.
    pub max_tokens: usize,
    /// What the embeddings of the network go through at the end, if anything.
    pub whitening: Option<Whitening>,
}

impl SavedEncoder {
    /// Size of an embedding: that of the network, or what the whitening keeps of it.
    pub fn embedding_size(&self) -> usize {
        self.whitening.as_ref().map_or(self.encoder.embedding_size(), Whitening::embedding_size)
    }

    /// Embeds sentences with dropout off, whitened where there is a whitening; see [`embed`].
    pub fn embed(&self, sentences: &[&str]) -> Result<Embedded> {
        let embedded = embed(&self.encoder, &self.vocabulary, self.max_tokens, sentences)?;
        Ok(match &self.whitening {
            Some(whitening) => Embedded { embeddings: whitening.apply(&embedded.embeddings), ..embedded },
            None => embedded,
        })
    }

    /// Sets the whitening to one fitted on the network's embeddings of `sentences`, in the place of any
    /// before. Fails as [`Whitening::fit`].
    pub fn fit_whitening(&mut self, sentences: &[&str], kept: Option<usize>) -> Result<()> {
        let embedded = embed(&self.encoder, &self.vocabulary, self.max_tokens, sentences)?;
        self.whitening = Some(Whitening::fit(&embedded.embeddings, self.encoder.embedding_size(), kept)?);
        Ok(())
    }

    /// Writes the directory. Each file appears whole; `config.json` comes last and makes it loadable.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|error| {
            ModelError::file(folder, format!("{error}; fix: choose a folder that can be written"))
        })?;
        let config = DirectoryConfig {
            kind: "text_cnn".to_owned(),
            format: FORMAT,
            max_tokens: self.max_tokens,
            text_cnn: self.encoder.config().clone(),
            whitening: self.whitening.is_some(),
        };
        self.vocabulary.save(&folder.join(VOCABULARY))?;
        let tensors: Vec<(String, Tensor)> = self
            .encoder
            .parameters()
            .iter()
            .map(|(name, variable)| (name.to_owned(), variable.as_tensor().clone()))
            .collect();
        write_tensors(&folder.join(WEIGHTS), &tensors)?;
        if let Some(whitening) = &self.whitening {
            write_tensors(&folder.join(WHITENING), &whitening.to_tensors()?)?;
        }
        let text = serde_json::to_string_pretty(&config)
            .map_err(|error| ModelError::file(&folder.join(CONFIG), error))?;
        Ok(write_whole(&folder.join(CONFIG), (text + "\n").as_bytes())?)
    }

    /// Loads a directory that [`SavedEncoder::save`] wrote.
    ///
    /// Fails, naming the file, when one is missing or cut short, when a weight is missing, left over or of
    /// another shape, or when vocabulary, embedding and whitening differ in size.
    pub fn load(folder: &Path) -> Result<Self> {
        let config = read_config(&folder.join(CONFIG))?;
        let vocabulary = Vocabulary::load(&folder.join(VOCABULARY))?;
        let path = folder.join(WEIGHTS);
        let encoder = build(&path, config.text_cnn, &read_tensors(&path)?)?;
        if encoder.vocabulary_size() != vocabulary.vocabulary_size() {
            let (rows, tokens) = (encoder.vocabulary_size(), vocabulary.vocabulary_size());
            return Err(ModelError::file(
                &path,
                format!("has {rows} token vectors for {tokens} tokens in {VOCABULARY}"),
            ));
        }
        let path = folder.join(WHITENING);
        let read = || Whitening::from_tensors(&path, &read_tensors(&path)?, encoder.embedding_size());
        let whitening = config.whitening.then(read).transpose()?;
        Ok(Self { encoder, vocabulary, max_tokens: config.max_tokens, whitening })
    }
}

fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let bytes = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), None)
        .map_err(|error| ModelError::file(path, error))?;
    Ok(write_whole(path, &bytes)?)
}

fn read_tensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    candle_core::safetensors::load(path, &Device::Cpu).map_err(|error| {
        ModelError::file(path, format!("{error}; fix: copy the encoder directory again, whole"))
    })
}

fn read_config(path: &Path) -> Result<DirectoryConfig> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ModelError::file(
            path,
            format!("{error}; fix: name the folder that a training run wrote as `encoder`"),
        )
    })?;
    let config: DirectoryConfig =
        serde_json::from_str(&text).map_err(|error| ModelError::file(path, error))?;
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
