//! One TOML file is one experiment: everything that decides its numbers, and no defaults for choices.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use simcse_data::{AugmentationConfig, VocabularyConfig};
use simcse_losses::LossConfig;
use simcse_train::{TrainConfig, health::HealthConfig};

mod error;
mod sections;
mod validate;
pub use error::ConfigError;
use error::{line_at, line_suffix};
pub use sections::{
    DataConfig, EncoderConfig, EvaluationConfig, MaskedLanguageConfig, TeacherConfig, TextCnnSection,
    TrainingText, TransformerSection, WhiteningConfig,
};

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
    /// How text is cut into tokens; a transformer has the tokenizer of its checkpoint instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<VocabularyConfig>,
    /// The network.
    pub encoder: EncoderConfig,
    /// What differs between two views of a sentence beside dropout.
    pub augmentation: AugmentationConfig,
    /// The loss.
    pub loss: LossConfig,
    /// Masked language modelling beside the loss; left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked_language: Option<MaskedLanguageConfig>,
    /// Whose embeddings are followed; for distillation, and only for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherConfig>,
    /// Optimiser, schedule, steps.
    pub train: TrainConfig,
    /// Health checks.
    pub health: HealthConfig,
    /// What is scored, and what selects.
    pub evaluation: EvaluationConfig,
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
