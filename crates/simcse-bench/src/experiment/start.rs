//! The encoder and its tokenizer before the first step.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use simcse_data::{Corpus, FileRecord, SentenceTokenizer as _, Tokenized, Vocabulary};
use simcse_model::embed::with_prefix;
use simcse_model::vectors::TokenVectors;
use simcse_model::{Encoder, SavedEncoder, SentenceEncoder as _, TextCnn, Transformer};
use simcse_random::Stream;

use crate::config::{EncoderConfig, RunConfig, TextCnnSection, TransformerSection};
use crate::pretrained::Pretrained;

/// An encoder that is not trained yet, and where it came from.
#[derive(Debug)]
pub struct Start {
    /// Network, tokenizer, prefix and `max_tokens`.
    pub encoder: SavedEncoder,
    /// Files of vectors or of the checkpoint.
    pub files: Vec<FileRecord>,
    /// What `data.json` says of them.
    pub record: Value,
    /// Name of [`Start::record`] in `data.json`.
    pub record_name: &'static str,
}

impl Start {
    /// The encoder of the configuration. `is_real`: whether the run is on real data; on the bundled sample,
    /// which needs no downloads, a file of vectors may be missing.
    ///
    /// Fails when a checkpoint or a file of vectors is missing or broken, or does not fit the configuration.
    pub fn new(config: &RunConfig, corpus: &Corpus, model_dir: Option<&Path>, is_real: bool) -> Result<Self> {
        match &config.encoder {
            EncoderConfig::TextCnn(section) => text_cnn(section, config, corpus, model_dir, is_real),
            EncoderConfig::Transformer(section) => transformer(section, config, model_dir),
        }
    }

    /// Sentences as the encoder sees them, prefix and special tokens included, cut at `max_tokens`.
    pub fn tokenize(&self, sentences: &[&str], max_tokens: usize) -> Tokenized {
        let prefixed = with_prefix(&self.encoder.prefix, sentences);
        let sentences: Vec<&str> = prefixed.iter().map(AsRef::as_ref).collect();
        self.encoder.tokenizer.encode_all(&sentences, max_tokens)
    }

    /// Begins the token weights of the pooling with a / (a + frequency) where the configuration gives a (Arora et
    /// al. 2017); the frequency of a token is its share of `text`.
    pub fn weigh_tokens(&self, config: &RunConfig, text: &Tokenized) -> Result<()> {
        let EncoderConfig::Transformer(TransformerSection {
            token_weight_smoothing: Some(smoothing), ..
        }) = &config.encoder
        else {
            return Ok(());
        };
        let encoder = self.transformer().context("token weights are for a transformer")?;
        let mut counts = vec![0_u64; encoder.config().vocab_size];
        text.sequences.iter().flatten().for_each(|id| counts[*id as usize] += 1);
        let total = text.tokens() as f64;
        let logarithm = |count: &u64| (smoothing / (smoothing + *count as f64 / total)).ln() as f32;
        Ok(encoder.set_token_weights(&counts.iter().map(logarithm).collect::<Vec<f32>>())?)
    }

    /// The tokens that the encoder's prefix puts before those of a sentence; none without a prefix.
    pub fn prefix_ids(&self) -> Vec<u32> {
        let SavedEncoder { prefix, tokenizer, max_tokens, .. } = &self.encoder;
        if prefix.is_empty() {
            return Vec::new();
        }
        let mut ids = tokenizer.encode(prefix, *max_tokens).ids;
        let end = ids.iter().rev().take_while(|id| tokenizer.special_ids().contains(id)).count();
        ids.truncate(ids.len() - end);
        ids
    }

    /// The network as a transformer, for masked language modelling.
    pub fn transformer(&self) -> Option<&Transformer> {
        match &self.encoder.encoder {
            Encoder::Transformer(transformer) => Some(transformer.as_ref()),
            Encoder::TextCnn(_) => None,
        }
    }
}

fn initial(config: &RunConfig) -> Stream {
    Stream::from_seed(config.seed).named("initial")
}

fn transformer(section: &TransformerSection, config: &RunConfig, model_dir: Option<&Path>) -> Result<Start> {
    let (wanted, masked_lm) = (config.data.max_tokens, config.masked_language.is_some());
    let loaded = Pretrained::load(section, masked_lm, Some(wanted), model_dir, initial(config))?;
    loaded.check_length("data.max_tokens", wanted, &section.checkpoint)?;
    let in_training = config.data.most_train_tokens();
    let repeated = match config.augmentation.repetition {
        0.0 => 0,
        // See `Augmenter::augment`.
        rate => ((in_training as f64 * rate) as usize).max(2),
    };
    let longest = in_training + repeated;
    ensure!(
        longest <= loaded.most_tokens,
        "augmentation.repetition makes sentences of {in_training} tokens up to {longest} long, but {} has positions for \
         {}; fix: lower data.max_tokens, or set data.train_max_tokens",
        section.checkpoint,
        loaded.most_tokens
    );
    let record = loaded.record();
    let Pretrained { encoder, found, .. } = loaded;
    Ok(Start { encoder, files: found.records, record, record_name: "checkpoint" })
}

fn text_cnn(
    section: &TextCnnSection,
    config: &RunConfig,
    corpus: &Corpus,
    model_dir: Option<&Path>,
    is_real: bool,
) -> Result<Start> {
    let how = config.vocabulary.context("vocabulary: missing; fix: add the section")?;
    let vocabulary = Vocabulary::build(corpus.sentences.iter().map(String::as_str), how)?;
    let encoder = TextCnn::new(section.network.clone(), vocabulary.vocabulary_size(), initial(config))?;
    let vectors = match &section.vectors {
        Some(name) => load_vectors(name, model_dir, is_real)?,
        None => None,
    };
    let mut files = Vec::new();
    let mut record = Value::Null;
    if let Some((vectors, found)) = vectors {
        fill(&encoder, &vectors, &vocabulary)?;
        record = json!(found);
        files = found;
    }
    let encoder = SavedEncoder::new(encoder, vocabulary, config.data.max_tokens);
    Ok(Start { encoder, files, record, record_name: "vectors" })
}

/// Puts the vectors of known tokens into the embedding.
fn fill(encoder: &TextCnn, vectors: &TokenVectors, vocabulary: &Vocabulary) -> Result<()> {
    let token = |id| vocabulary.token(id).unwrap_or_default().to_owned();
    let tokens: Vec<String> = (0..vocabulary.vocabulary_size() as u32).map(token).collect();
    let table = encoder.parameters().get("embedding.weight").context("no embedding")?.as_tensor();
    let (filled, found) = vectors.fill(table, &tokens)?;
    ensure!(
        found > 0,
        "encoder.vectors: a vector for none of the tokens; fix: give vectors of this language"
    );
    Ok(encoder.set_embedding(&filled)?)
}

/// Finds and reads a file of vectors.
fn load_vectors(
    name: &str,
    model_dir: Option<&Path>,
    needed: bool,
) -> Result<Option<(TokenVectors, Vec<FileRecord>)>> {
    let candidates = [Some(PathBuf::from(name)), model_dir.map(|folder| folder.join(name))];
    let Some(path) = candidates.into_iter().flatten().find(|path| path.exists()) else {
        ensure!(
            !needed,
            "encoder.vectors = {name:?}: not found here or in the model folder; fix: give --model-dir or \
             SIMCSE_MODEL_DIR, or leave the key out for random vectors"
        );
        return Ok(None);
    };
    let vectors = TokenVectors::load(&path)?;
    let mut records = Vec::new();
    for file in TokenVectors::files(&path)? {
        let shown = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        records.push(FileRecord::of_file(&file, shown, vectors.len())?);
    }
    Ok(Some((vectors, records)))
}
