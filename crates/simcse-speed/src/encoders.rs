//! The encoders whose steps are timed.

use std::path::PathBuf;

use anyhow::Result;
use simcse_data::{PretrainedTokenizer, SentenceTokenizer as _, TokenUnit, Vocabulary, VocabularyConfig};
use simcse_model::transformer::{DropoutRates, TransformerConfig};
use simcse_model::{Pooling, TextCnn, TextCnnConfig, Transformer, TransformerOptions};
use simcse_ops::linear::Precision;
use simcse_random::Stream;

use crate::steps::{self, StepOptions};
use crate::texts;

/// Dropout of every encoder here.
const DROPOUT: f64 = 0.1;

/// A transformer: `[CLS]` through a layer with tanh in training, as in the paper.
#[derive(Debug, clap::Args)]
pub(crate) struct TransformerCommand {
    /// Folder of a checkpoint: weights, `config.json` and tokenizer
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Another `config.json`: the network that it describes with random weights, and the tokenizer of --model
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// The first N layers; without it all
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// What matrix products are computed in: f32 or bf16
    #[arg(long, value_name = "NAME", default_value = "f32", value_parser = precision)]
    precision: Precision,
    /// Only sentences of N tokens or more, cut to N: nothing is padded then
    #[arg(long, value_name = "N")]
    equal_length: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// A TextCNN over characters.
#[derive(Debug, clap::Args)]
pub(crate) struct TextCnnCommand {
    #[command(flatten)]
    options: TextCnnOptions,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TextCnnOptions {
    /// Size of a character vector
    #[arg(long, value_name = "N", default_value_t = 300)]
    embedding_size: usize,
    /// Filters of each of the widths 2, 3, 4 and 5
    #[arg(long, value_name = "N", default_value_t = 256)]
    maps: usize,
    /// Rows of the table of character vectors
    #[arg(long, value_name = "N", default_value_t = 21_128)]
    vocabulary_size: usize,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// A TextCNN and the sentences as its token ids.
pub(crate) struct Characters {
    pub(crate) encoder: TextCnn,
    pub(crate) sequences: Vec<Vec<u32>>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// File of sentences, one a line, or of tab-separated pairs
    #[arg(long, value_name = "FILE")]
    texts: PathBuf,
    /// Tokens of a sentence beyond this number are cut off
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_tokens: usize,
    #[command(flatten)]
    pub(crate) steps: StepOptions,
}

/// f32 or bf16.
pub(crate) fn precision(name: &str) -> Result<Precision, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

impl TransformerCommand {
    pub(crate) fn run(&self) -> Result<String> {
        let options = TransformerOptions {
            layers: self.layers,
            dropout: DropoutRates::new(DROPOUT, DROPOUT),
            precision: self.precision,
            ..TransformerOptions::evaluation(Pooling::ClsTanhInTraining)
        };
        let stream = Stream::from_seed(1);
        let encoder = match &self.network {
            Some(network) => Transformer::new(TransformerConfig::load(network)?, &options, stream)?,
            None => Transformer::load(&self.model, &options, stream)?,
        };
        let tokenizer = PretrainedTokenizer::from_folder(&self.model)?;
        let sentences = texts::read(&self.common.texts)?;
        let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
        let sequences = tokenizer.encode_all(&sentences, self.common.max_tokens).sequences;
        let sequences = match self.equal_length {
            Some(length) => texts::of_equal_length(sequences, length)?,
            None => sequences,
        };
        steps::run_contrast(&encoder, sequences, 3e-5, &self.common.steps)
    }
}

impl TextCnnCommand {
    pub(crate) fn run(&self) -> Result<String> {
        let Characters { encoder, sequences } = self.options.characters()?;
        steps::run_contrast(&encoder, sequences, 1e-3, &self.options.common.steps)
    }
}

impl TextCnnOptions {
    /// The network, and the sentences of the file cut at `max_tokens`.
    pub(crate) fn characters(&self) -> Result<Characters> {
        let sentences = texts::read(&self.common.texts)?;
        let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
        let vocabulary = VocabularyConfig {
            unit: TokenUnit::Characters,
            lower_case: false,
            nfkc: false,
            min_count: 1,
            max_size: None,
        };
        let vocabulary = Vocabulary::build(sentences.iter().copied(), vocabulary)?;
        let network = TextCnnConfig {
            embedding_size: self.embedding_size,
            widths: vec![2, 3, 4, 5],
            maps: self.maps,
            embedding_dropout: DROPOUT,
            output_dropout: DROPOUT,
            projection_size: None,
        };
        let rows = self.vocabulary_size.max(vocabulary.vocabulary_size());
        let encoder = TextCnn::new(network, rows, Stream::from_seed(1))?;
        let sequences = vocabulary.encode_all(&sentences, self.common.max_tokens).sequences;
        Ok(Characters { encoder, sequences })
    }
}
