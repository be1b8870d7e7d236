//! How fast a trained encoder embeds sentences.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use simcse_bench::embedder::EmbeddedSentences;
use simcse_model::SavedEncoder;
use statrs::statistics::{Data, OrderStatistics as _};

use crate::{peak_memory, texts};

/// From text to embeddings, tokenising included, as the evaluation does it.
#[derive(Debug, clap::Args)]
pub(crate) struct EncodeCommand {
    /// Directory of the encoder, such as `results/runs/textcnn/headline-s1/encoder`
    #[arg(long, value_name = "DIR")]
    encoder: PathBuf,
    /// File of sentences, one a line, or of tab-separated pairs
    #[arg(long, value_name = "FILE")]
    texts: PathBuf,
    /// Sentences that are embedded in a round, the first ones of the file
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    sentences: usize,
    /// Rounds that are timed, after one that is not
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    sentences_per_second: f64,
    rounds_ms: Vec<f64>,
    sentences: usize,
    parameters: usize,
    embedding_size: usize,
    peak_memory_mib: Option<u64>,
}

impl EncodeCommand {
    pub(crate) fn run(&self) -> Result<String> {
        let encoder = SavedEncoder::load(&self.encoder)?;
        let mut sentences = texts::read(&self.texts)?;
        sentences.truncate(self.sentences);
        let round = || -> Result<f64> {
            let began = Instant::now();
            EmbeddedSentences::new(&encoder, sentences.iter().map(String::as_str))?;
            Ok(began.elapsed().as_secs_f64())
        };
        round()?;
        let seconds = (0..self.rounds).map(|_| round()).collect::<Result<Vec<f64>>>()?;
        let network = encoder.encoder.as_dyn();
        let report = Report {
            sentences_per_second: sentences.len() as f64 / Data::new(seconds.clone()).median(),
            rounds_ms: seconds.iter().map(|seconds| 1e3 * seconds).collect(),
            sentences: sentences.len(),
            parameters: network.parameters().element_count(),
            embedding_size: network.embedding_size(),
            peak_memory_mib: peak_memory(),
        };
        Ok(serde_json::to_string(&report)?)
    }
}
