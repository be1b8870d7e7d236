//! Options of commands that embed: trained encoders, and checkpoints as they are.

use std::path::{Path, PathBuf};

use anyhow::Result;
use simcse_bench::config::TransformerSection;
use simcse_bench::embedder::{self, Embedder};
use simcse_bench::pretrained::Pretrained;
use simcse_model::Pooling;
use simcse_ops::linear::Precision;

/// How a checkpoint that nobody has trained for sentences becomes an encoder.
#[derive(Debug, clap::Args)]
pub(crate) struct RawOptions {
    /// What matrix products are computed in: f32 or bf16
    #[arg(long, value_name = "NAME", default_value = "f32", value_parser = precision)]
    precision: Precision,
    /// Use a checkpoint as it is, its token states pooled so: cls, mean, first_last_mean, max; layer_mix and
    /// smooth_maximum at the values that they begin with
    #[arg(long, value_name = "NAME", value_parser = pooling, requires = "encoder")]
    pooling: Option<Pooling>,
    /// Its first N layers; without it all
    #[arg(long, value_name = "N", requires = "pooling")]
    layers: Option<usize>,
    /// Put before every sentence, such as "query: "
    #[arg(long, value_name = "TEXT", requires = "pooling")]
    prefix: Option<String>,
    /// Tokens of a sentence beyond this number are cut off; without it those without a position
    #[arg(long, value_name = "N", requires = "pooling", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Branch, tag or commit on the hub; without it `main`
    #[arg(long, value_name = "NAME", requires = "pooling")]
    revision: Option<String>,
    /// Folder with checkpoints
    #[arg(long, value_name = "DIR", env = "SIMCSE_MODEL_DIR")]
    model_dir: Option<PathBuf>,
}

/// A precision by the name that it has in configurations.
fn precision(name: &str) -> Result<Precision, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

/// A pooling by the name that it has in configurations.
fn pooling(name: &str) -> Result<Pooling, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

impl RawOptions {
    /// The encoder of this name, raw where there is a pooling.
    pub(crate) fn load(&self, name: &str) -> Result<Box<dyn Embedder>> {
        let Some(pooling) = self.pooling else { return embedder::load(Path::new(name), self.precision) };
        let section = TransformerSection {
            checkpoint: name.to_owned(),
            revision: self.revision.clone(),
            layers: self.layers,
            pooling,
            prefix: self.prefix.clone(),
            hidden_dropout: 0.0,
            attention_dropout: 0.0,
            token_weight_smoothing: None,
            sharpness: None,
            precision: self.precision,
        };
        let max_tokens = self.max_tokens.map(|tokens| tokens as usize);
        Ok(Box::new(Pretrained::raw(&section, max_tokens, self.model_dir.as_deref())?.encoder))
    }
}
