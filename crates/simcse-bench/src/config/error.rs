//! What is wrong with a configuration, at which key, and where that key stands.

use std::fmt;

use serde::de::DeserializeOwned;
use simcse_data::DataError;
use simcse_losses::{CosentConfig, InfoNceConfig, LossError};
use simcse_model::ModelError;
use simcse_train::TrainError;
use toml::de::DeTable;

use super::{TextCnnSection, TransformerSection};

/// A configuration that cannot be used: one line with the key and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Dotted key; of a section where a key is missing.
    pub key: String,
    /// What is wrong and how to mend it.
    pub problem: String,
    /// The `--set` that brought it in.
    set: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.set {
            Some(text) => write!(f, "--set {text}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into(), set: None }
    }

    pub(super) fn of_override(text: &str, problem: String) -> Self {
        let key = text.split('=').next().unwrap_or_default().trim().to_owned();
        Self { key, problem, set: Some(text.to_owned()) }
    }

    pub(super) fn is_of_override(&self) -> bool {
        self.set.is_some()
    }

    /// Whether the override `text` sets the key of this error.
    pub(super) fn is_about(&self, text: &str) -> bool {
        text.split('=').next().is_some_and(|key| key.trim() == self.key)
    }

    /// An error of serde: an unknown or missing key, a value of another type.
    pub(super) fn unreadable(error: &toml::de::Error, table: &toml::Table) -> Self {
        // A section with a `kind` is buffered by serde, which loses the place within it: read it by itself.
        let kind = |section: &str| table.get(section)?.as_table()?.get("kind")?.as_str();
        let of_encoder = match kind("encoder") {
            Some("transformer") => inner_error::<TransformerSection>(table, "encoder"),
            Some("text_cnn") => inner_error::<TextCnnSection>(table, "encoder"),
            _ => None,
        };
        let inner = of_encoder.or_else(|| match kind("loss") {
            Some("cosent") => inner_error::<CosentConfig>(table, "loss"),
            Some("info_nce") => inner_error::<InfoNceConfig>(table, "loss"),
            _ => None,
        });
        let (message, mut key) = match inner {
            Some(inner) if error_parts(error).1.split('.').next() == inner.1.split('.').next() => inner,
            _ => error_parts(error),
        };
        let named = message.split('`').nth(1).unwrap_or_default();
        let fix = match () {
            () if message.starts_with("unknown field") => {
                key = if key.is_empty() { named.to_owned() } else { format!("{key}.{named}") };
                "correct the key or take it out"
            }
            () if message.starts_with("missing field") => "add it, there are no defaults for choices",
            () => "correct the value",
        };
        let place = if key.is_empty() { String::new() } else { format!("{key}: ") };
        Self::new(key, format!("{place}{message}; fix: {fix}"))
    }
}

/// The message and the dotted key, which toml shows as a second line (`in `train.steps``).
fn error_parts(error: &toml::de::Error) -> (String, String) {
    let text = error.to_string();
    let key = text.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    (error.message().replace('\n', " "), key.unwrap_or_default().to_owned())
}

fn inner_error<T: DeserializeOwned>(table: &toml::Table, section: &str) -> Option<(String, String)> {
    let mut inner = table.get(section)?.as_table()?.clone();
    inner.remove("kind");
    let (message, key) = error_parts(&inner.try_into::<T>().err()?);
    Some((message, if key.is_empty() { section.to_owned() } else { format!("{section}.{key}") }))
}

/// Line, from 1, of the byte `position`.
pub(super) fn line_at(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}

/// `:line` of the dotted `key`, or of the innermost section of it that stands in `text`.
pub(super) fn line_suffix(text: &str, key: &str) -> String {
    let Ok(parsed) = DeTable::parse(text) else { return String::new() };
    let (mut position, mut table) = (None, Some(parsed.get_ref()));
    for part in key.split('.') {
        let Some((name, value)) = table.and_then(|table| table.get_key_value(part)) else { break };
        position = Some(name.span().start);
        table = value.get_ref().as_table();
    }
    position.map_or_else(String::new, |position| format!(":{}", line_at(text, position)))
}

impl From<TrainError> for ConfigError {
    fn from(error: TrainError) -> Self {
        let key = if let TrainError::Config { key, .. } = &error { key } else { "" };
        Self::new(format!("train.{key}"), error.to_string())
    }
}

impl From<ModelError> for ConfigError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Config { key, value, problem } => {
                let key = format!("encoder.network.{key}");
                let problem = format!("{key} = {value}: {problem}; fix: change it");
                Self { key, problem, set: None }
            }
            other => Self::new("encoder", other.to_string()),
        }
    }
}

impl From<LossError> for ConfigError {
    fn from(error: LossError) -> Self {
        let key = if let LossError::Config { key, .. } = &error { key } else { "" };
        Self::new(format!("loss.{key}"), error.to_string())
    }
}

impl From<DataError> for ConfigError {
    fn from(error: DataError) -> Self {
        let key = if let DataError::Config { key, .. } = &error { key } else { "" };
        Self::new(key, error.to_string())
    }
}
