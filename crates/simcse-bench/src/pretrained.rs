//! A published checkpoint as an encoder: what training begins with, and what is scored as it is.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use simcse_data::{ModelFiles, ModelSource, PretrainedTokenizer, SentenceTokenizer as _};
use simcse_model::{Pooling, SavedEncoder, Transformer, TransformerOptions};
use simcse_random::Stream;

use crate::config::TransformerSection;

/// An encoder made of a checkpoint, and the files that it came from.
#[derive(Debug)]
pub struct Pretrained {
    /// Network, tokenizer, prefix and `max_tokens`.
    pub encoder: SavedEncoder,
    /// The checkpoint.
    pub found: ModelFiles,
    /// Tokens for which the network has positions.
    pub most_tokens: usize,
}

impl Pretrained {
    /// Finds the checkpoint, in `model_dir` as well, and loads it. `max_tokens`: `None` for as many as it has
    /// positions for. `masked_lm`: with a head of masked language modelling. What the pooling has to learn is
    /// drawn from `stream`.
    ///
    /// # Errors
    /// When it is not found, is broken or does not fit the section; when its tokenizer has tokens that the
    /// network does not know.
    pub fn load(
        section: &TransformerSection,
        masked_lm: bool,
        max_tokens: Option<usize>,
        model_dir: Option<&Path>,
        stream: Stream,
    ) -> Result<Self> {
        let source = ModelSource::new(model_dir.map(Path::to_path_buf))?;
        let found = source.locate(&section.checkpoint, section.revision.as_deref())?;
        let options = TransformerOptions {
            layers: section.layers,
            dropout: section.dropout(),
            pooling: section.pooling,
            masked_lm,
            precision: section.precision,
        };
        let network = Transformer::load(&found.folder, &options, stream)?;
        if let Some(sharpness) = section.sharpness {
            network.set_sharpness(sharpness as f32)?;
        }
        let tokenizer = PretrainedTokenizer::from_folder(&found.folder)?;
        let (known, tokens) = (network.config().vocab_size, tokenizer.vocabulary_size());
        ensure!(
            tokens <= known,
            "{}: the tokenizer has {tokens} tokens and the network vectors for {known}; fix: use the model's own \
             tokenizer",
            found.folder.display()
        );
        let most_tokens = network.config().max_tokens();
        let prefix = section.prefix.clone().unwrap_or_default();
        let encoder = SavedEncoder::new(network, tokenizer, max_tokens.unwrap_or(most_tokens));
        Ok(Self { encoder: SavedEncoder { prefix, ..encoder }, found, most_tokens })
    }

    /// As [`Pretrained::load`] without dropout and training: the raw encoder under this pooling.
    ///
    /// # Errors
    /// As [`Pretrained::load`]; and on a pooling with a layer that only training fills, and on more tokens than
    /// there are positions for.
    pub fn raw(
        section: &TransformerSection,
        max_tokens: Option<usize>,
        model_dir: Option<&Path>,
    ) -> Result<Self> {
        ensure!(
            section.pooling != Pooling::ClsTanh,
            "pooling cls_tanh has a layer that training has to fill; fix: score the raw encoder with another pooling"
        );
        let raw = Self::load(section, false, max_tokens, model_dir, Stream::from_seed(0))?;
        raw.check_length("max_tokens", raw.encoder.max_tokens, &section.checkpoint)?;
        Ok(raw)
    }

    /// What `data.json` says of the checkpoint.
    pub(crate) fn record(&self) -> Value {
        let ModelFiles { origin, revision, records, .. } = &self.found;
        json!({ "origin": origin, "revision": revision, "files": records })
    }

    /// Fails, naming the `key` that asks for it, when the network has no positions for so many tokens.
    pub(crate) fn check_length(&self, key: &str, tokens: usize, checkpoint: &str) -> Result<()> {
        let most = self.most_tokens;
        ensure!(
            tokens <= most,
            "{key} = {tokens}, but {checkpoint} has positions for {most} tokens; fix: give {most} or less"
        );
        Ok(())
    }
}
