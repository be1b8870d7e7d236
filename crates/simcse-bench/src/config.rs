//! One TOML file is one experiment: everything that decides its numbers, and no defaults for choices.

use std::fmt::Debug;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use simcse_data::{AugmentationConfig, VocabularyConfig};
use simcse_losses::LossConfig;
use simcse_model::TextCnnConfig;
use simcse_train::{TrainConfig, health::HealthConfig};

mod error;
pub use error::ConfigError;
use error::{line_at, line_suffix};

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
    /// Whitening of the trained encoder; left out: none. Selection never sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whitening: Option<WhiteningConfig>,
}

/// The `[evaluation.whitening]` section: embeddings are whitened before they are scored and saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhiteningConfig {
    /// Training sentences to fit on, the first ones of the corpus; at most all of them.
    pub sentences: usize,
    /// At most this many directions of largest variance are kept; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<usize>,
}

impl RunConfig {
    /// Reads a configuration; `overrides` are `key.path=value` pairs that replace values in the file.
    ///
    /// # Errors
    /// On anything that is missing, unknown or out of range, naming file and line, or the override.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let text = read_text(path)?;
        match Self::from_table(parse(path, &text)?, overrides) {
            Err(error) if !error.is_of_override() => {
                bail!("{}{}: {error}", path.display(), line_suffix(&text, &error.key))
            }
            other => Ok(other?),
        }
    }

    /// A configuration from a TOML table with overrides applied.
    ///
    /// # Errors
    /// As [`RunConfig::load`], but without file and line.
    pub fn from_table(mut table: toml::Table, overrides: &[String]) -> Result<Self, ConfigError> {
        for text in overrides {
            let set = text
                .split_once('=')
                .ok_or_else(|| "no `=`; fix: write key.path=value".to_owned())
                .and_then(|(key, value)| {
                    set(&mut table, key.trim(), parse_value(value.trim())).map_err(|error| error.to_string())
                });
            set.map_err(|problem| ConfigError::of_override(text, problem))?;
        }
        let read = Self::read(table);
        read.map_err(|error| match overrides.iter().rfind(|text| error.is_about(text)) {
            Some(text) => ConfigError::of_override(text, error.problem),
            None => error,
        })
    }

    fn read(table: toml::Table) -> Result<Self, ConfigError> {
        let config: Self =
            table.clone().try_into().map_err(|error| ConfigError::unreadable(&error, &table))?;
        config.validate()?;
        Ok(config)
    }

    /// Fails on a value out of range; the message names the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |holds: bool, key: &str, value: &dyn Debug, fix: &str| match holds {
            true => Ok(()),
            false => Err(ConfigError::new(key, format!("{key} = {value:?} cannot be used; fix: {fix}"))),
        };
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        let plain =
            |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed);
        let letters = "use lower-case letters, digits, `-`, `_` and `.`";
        check(plain(&self.experiment), "experiment", &self.experiment, letters)?;
        check(plain(&self.name), "name", &self.name, letters)?;
        let Self { data, evaluation, .. } = self;
        check(!data.train.is_empty(), "data.train", &data.train, "give one source or more")?;
        check(data.max_tokens > 0, "data.max_tokens", &data.max_tokens, "give 1 or more")?;
        check(data.limit != Some(0), "data.limit", &0, "give 1 or more; leave it out for all")?;
        check(!evaluation.tasks.is_empty(), "evaluation.tasks", &evaluation.tasks, "give one task or more")?;
        check(
            !evaluation.select_on.is_empty(),
            "evaluation.select_on",
            &evaluation.select_on,
            "give one task or more",
        )?;
        check(
            evaluation.select_on.iter().all(|task| evaluation.tasks.contains(task)),
            "evaluation.select_on",
            &evaluation.select_on,
            "name only tasks that stand in evaluation.tasks: what selects is scored and recorded",
        )?;
        if let Some(WhiteningConfig { sentences, kept }) = &evaluation.whitening {
            check(*sentences >= 2, "evaluation.whitening.sentences", sentences, "give 2 or more")?;
            let fix = "give 1 or more; leave it out for all";
            check(*kept != Some(0), "evaluation.whitening.kept", &0, fix)?;
        }
        let EncoderConfig::TextCnn(section) = &self.encoder;
        section.network.validate()?;
        self.augmentation.validate()?;
        self.loss.validate()?;
        Ok(self.train.validate()?)
    }

    /// The configuration as TOML, the form that runs record and hash.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }
}

/// Reads a TOML file that is no run itself; an error names file and line.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse(path, &read_text(path)?)
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        anyhow!("{}: cannot be read ({error}); fix: name a configuration file", path.display())
    })
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = line_at(text, error.span().unwrap_or_default().start);
        anyhow!("{}:{line}: {}; fix: correct it", path.display(), error.message().replace('\n', " "))
    })
}

/// Puts `value` at the dotted `key`; every table on the way must exist.
pub fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    let (mut table, mut rest) = (table, key);
    while let Some((head, tail)) = rest.split_once('.') {
        table = match table.get_mut(head) {
            Some(toml::Value::Table(inner)) => inner,
            _ => bail!("{key}: there is no section {head:?} in the configuration; fix: correct the key"),
        };
        rest = tail;
    }
    table.insert(rest.to_owned(), value);
    Ok(())
}

/// A TOML value, or else a string, so that `--set name=abc` needs no quotes.
fn parse_value(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}"));
    parsed
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}
