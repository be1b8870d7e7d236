//! One TOML file is one experiment: everything that decides its numbers, and no defaults for choices.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use simcse_data::{AugmentationConfig, VocabularyConfig};
use simcse_losses::LossConfig;
use simcse_model::TextCnnConfig;
use simcse_train::{TrainConfig, health::HealthConfig};

/// A whole run. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Experiment that the run belongs to; the first folder under `runs/`.
    pub experiment: String,
    /// Short name of this configuration; with the seed, the second folder.
    pub name: String,
    /// The row label in tables.
    pub label: String,
    /// Rows of one group form one part of a table (an ablation axis).
    pub group: String,
    /// Seed of every random stream of the run.
    pub seed: u64,
    /// Training text.
    pub data: DataConfig,
    /// How text is cut into tokens.
    pub vocabulary: VocabularyConfig,
    /// The network.
    pub encoder: EncoderConfig,
    /// What differs between two views of a sentence beside dropout.
    pub augmentation: AugmentationConfig,
    /// The loss.
    pub loss: LossConfig,
    /// Optimiser, schedule, steps.
    pub train: TrainConfig,
    /// Health checks.
    pub health: HealthConfig,
    /// What is scored, and what selects.
    pub evaluation: EvaluationConfig,
}

/// The `[data]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Sources of training sentences: `name/split` of the catalogue, or a path.
    pub train: Vec<String>,
    /// Whether sentences that stand in a test set stay in the training text. Every table marks it.
    pub transductive: bool,
    /// Tokens of a sentence beyond this number are cut off, and counted.
    pub max_tokens: usize,
    /// At most this many sentences, a seeded choice; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The `[encoder]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EncoderConfig {
    /// TextCNN.
    TextCnn(TextCnnSection),
}

/// A TextCNN and what its embedding begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextCnnSection {
    /// Token vectors to begin with: a file, searched in the model folder as well; left out: random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<String>,
    /// Shape and dropout.
    pub network: TextCnnConfig,
}

/// The `[evaluation]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Tasks that are scored at the end, by their catalogue names.
    pub tasks: Vec<String>,
    /// Tasks whose dev Spearman, averaged, selects the parameters.
    pub select_on: Vec<String>,
    /// At most this many pairs of each dev set are used while selecting (the first ones); 0: all.
    pub select_pairs: usize,
}

impl RunConfig {
    /// Reads a configuration; `overrides` are `key.path=value` pairs that replace values in the file.
    ///
    /// Fails, naming file and line, on anything that is missing, unknown or out of range.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        Self::from_table(read_table(path)?, overrides).with_context(|| path.display().to_string())
    }

    /// A configuration from a TOML table with overrides applied.
    pub fn from_table(mut table: toml::Table, overrides: &[String]) -> Result<Self> {
        for text in overrides {
            let Some((key, value)) = text.split_once('=') else {
                bail!("--set {text}: wanted key.path=value");
            };
            set(&mut table, key.trim(), parse_value(value.trim()))?;
        }
        // Through text, so that an error shows the place.
        let text = toml::to_string(&table)?;
        let config: Self = toml::from_str(&text)?;
        config.validate()?;
        Ok(config)
    }

    /// Fails on a value out of range; the message names the key.
    pub fn validate(&self) -> Result<()> {
        let plain = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        };
        ensure!(plain(&self.experiment), "experiment = {:?}: letters, digits, - . _ only", self.experiment);
        ensure!(plain(&self.name), "name = {:?}: letters, digits, - . _ only", self.name);
        ensure!(!self.data.train.is_empty(), "data.train: needs one source or more");
        ensure!(self.data.max_tokens > 0, "data.max_tokens = 0: must be 1 or more");
        ensure!(self.data.limit != Some(0), "data.limit = 0: must be 1 or more; leave it out for all");
        ensure!(!self.evaluation.select_on.is_empty(), "evaluation.select_on: needs one task or more");
        let EncoderConfig::TextCnn(section) = &self.encoder;
        section.network.validate()?;
        self.augmentation.validate()?;
        self.loss.validate()?;
        self.train.validate()?;
        Ok(())
    }

    /// The configuration as TOML, the form that runs record and hash.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }
}

/// Reads a file as a TOML table; an error names file, line and column.
pub fn read_table(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: cannot be read; fix: name a configuration file", path.display()))?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// Puts `value` at the dotted `key`; every table on the way must exist.
pub fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    let (mut table, mut rest) = (table, key);
    while let Some((head, tail)) = rest.split_once('.') {
        table = match table.get_mut(head) {
            Some(toml::Value::Table(inner)) => inner,
            _ => bail!("{key}: there is no section {head:?} in the configuration"),
        };
        rest = tail;
    }
    table.insert(rest.to_owned(), value);
    Ok(())
}

/// A TOML value, or else a string, so that `--set name=abc` needs no quotes.
fn parse_value(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}"));
    parsed.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| toml::Value::String(text.to_owned()))
}
