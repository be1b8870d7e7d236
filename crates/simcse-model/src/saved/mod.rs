//! An encoder as a directory: whatever decides an embedding at test time stands in it, so training and test
//! cannot differ.
//!
//! A **TextCNN** directory:
//!
//! | file | what |
//! |---|---|
//! | `config.json` | kind and format version, shape of the network, `max_tokens`, prefix |
//! | `vocabulary.json` (or `tokenizer.json`) | tokens and how text is cut into them |
//! | `model.safetensors` | float32 parameters, names and shapes as in [`TextCnn::from_tensors`] |
//! | `whitening.safetensors` | where `config.json` says `"whitening": true`: `mean` `[D]`, `weight` `[D, K]` |
//!
//! A **transformer** directory loads in sentence-transformers, with the same embeddings:
//!
//! | file | what |
//! |---|---|
//! | `simcse.json` | what our loader goes by: format, pooling, prefix, `max_tokens`, tokenizer, whitening |
//! | `config.json`, `model.safetensors` | shape and weights as `transformers` has them, layers in use only |
//! | `tokenizer.json`, `tokenizer_config.json` | the tokenizer |
//! | `head.safetensors` | what the pooling learned (`head.…`), where it learns |
//! | `whitening.safetensors` | as above |
//! | `modules.json` and the folders and files that it and sentence-transformers name | the same once more, in its words |
//!
//! A sentence-transformers directory without `simcse.json` loads as well where its modules are a
//! transformer, cls, mean or max pooling, at most a tanh layer on cls, and a normalisation (which a cosine
//! does not see; our embeddings are not normalised).
//!
//! [`TextCnn::from_tensors`]: crate::TextCnn::from_tensors

mod files;
mod foreign;
mod modules;
mod parts;
mod text_cnn;
mod transformer;

use std::path::Path;

pub use parts::{Encoder, Tokenizer};

use crate::embed::{Embedded, embed, with_prefix};
use crate::{ModelError, Result, Whitening};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const WHITENING: &str = "whitening.safetensors";

/// An encoder with everything that it needs to embed text.
#[derive(Debug)]
pub struct SavedEncoder {
    /// The network.
    pub encoder: Encoder,
    /// How text becomes token ids.
    pub tokenizer: Tokenizer,
    /// Put before every sentence, as some encoders were trained (e5: `query: `); empty for none.
    pub prefix: String,
    /// Tokens of a sentence (with prefix and special tokens) beyond this number are cut off.
    pub max_tokens: usize,
    /// What the embeddings of the network go through at the end, if anything.
    pub whitening: Option<Whitening>,
}

impl SavedEncoder {
    /// Without prefix and whitening.
    pub fn new(encoder: impl Into<Encoder>, tokenizer: impl Into<Tokenizer>, max_tokens: usize) -> Self {
        let (encoder, tokenizer) = (encoder.into(), tokenizer.into());
        Self { encoder, tokenizer, prefix: String::new(), max_tokens, whitening: None }
    }

    /// Size of an embedding: that of the network, or what the whitening keeps of it.
    pub fn embedding_size(&self) -> usize {
        let size = self.encoder.as_dyn().embedding_size();
        self.whitening.as_ref().map_or(size, Whitening::embedding_size)
    }

    /// Embeds sentences with dropout off, whitened where there is a whitening; see [`embed`].
    pub fn embed(&self, sentences: &[&str]) -> Result<Embedded> {
        Ok(self.whiten(self.embed_before_whitening(sentences)?))
    }

    /// What the network said, through the whitening if there is one.
    pub fn whiten(&self, embedded: Embedded) -> Embedded {
        match &self.whitening {
            Some(whitening) => Embedded { embeddings: whitening.apply(&embedded.embeddings), ..embedded },
            None => embedded,
        }
    }

    /// What the network itself says: as [`SavedEncoder::embed`] without the whitening.
    pub fn embed_before_whitening(&self, sentences: &[&str]) -> Result<Embedded> {
        let prefixed = with_prefix(&self.prefix, sentences);
        let sentences: Vec<&str> = prefixed.iter().map(AsRef::as_ref).collect();
        embed(self.encoder.as_dyn(), self.tokenizer.as_dyn(), self.max_tokens, &sentences)
    }

    /// Sets the whitening to one fitted on the network's embeddings of `sentences`, in the place of any
    /// before. Fails as [`Whitening::fit`].
    pub fn fit_whitening(&mut self, sentences: &[&str], kept: Option<usize>) -> Result<()> {
        let embedded = self.embed_before_whitening(sentences)?;
        let size = self.encoder.as_dyn().embedding_size();
        self.whitening = Some(Whitening::fit(&embedded.embeddings, size, kept)?);
        Ok(())
    }

    /// Writes the directory. Each file appears whole; the one that our loader reads first comes last.
    pub fn save(&self, folder: &Path) -> Result<()> {
        match &self.encoder {
            Encoder::TextCnn(encoder) => text_cnn::save(self, encoder, folder),
            Encoder::Transformer(encoder) => transformer::save(self, encoder, folder),
        }
    }

    /// Loads a directory that [`SavedEncoder::save`] wrote, or one of sentence-transformers.
    ///
    /// Fails, naming the file, when one is missing or cut short, when a weight is missing, left over or of
    /// another shape, when tokenizer, network and whitening differ in size, and on a module of
    /// sentence-transformers that has no counterpart here.
    pub fn load(folder: &Path) -> Result<Self> {
        if folder.join(transformer::OWN).is_file() {
            transformer::load(folder)
        } else if folder.join(modules::MODULES).is_file() {
            foreign::load(folder)
        } else {
            text_cnn::load(folder)
        }
    }

    fn save_whitening(&self, folder: &Path) -> Result<()> {
        match &self.whitening {
            Some(whitening) => files::write_tensors(&folder.join(WHITENING), &whitening.to_tensors()?),
            None => Ok(()),
        }
    }

    fn load_whitening(folder: &Path, is_there: bool, size: usize) -> Result<Option<Whitening>> {
        let path = folder.join(WHITENING);
        let read = || Whitening::from_tensors(&path, &files::read_tensors(&path)?, size);
        is_there.then(read).transpose()
    }
}

/// Fails when a token of the tokenizer has no row in the word table. A table may have more rows.
fn check_vocabulary(path: &Path, rows: usize, tokens: usize) -> Result<()> {
    if tokens <= rows {
        return Ok(());
    }
    let problem = format!("has {rows} token vectors for {tokens} tokens; fix: use the model's own tokenizer");
    Err(ModelError::file(path, problem))
}
