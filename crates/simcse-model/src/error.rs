//! What can go wrong with an encoder on disk or in memory.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, ModelError>;

/// An error of this crate; its message names the file and the mend.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A value of the configuration cannot be used.
    #[error("encoder configuration: {key} = {value}: {problem}")]
    Config {
        /// The key as it stands in the configuration file.
        key: &'static str,
        /// The value found.
        value: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A file of an encoder directory is missing, cut short or belongs to something else.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// A whitening cannot be fitted to these embeddings.
    #[error("whitening: {0}")]
    Whitening(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The text side failed (vocabulary, batch).
    #[error(transparent)]
    Data(#[from] simcse_data::DataError),
}

impl ModelError {
    pub(crate) fn file(path: &std::path::Path, problem: impl std::fmt::Display) -> Self {
        Self::File { path: path.to_owned(), problem: problem.to_string() }
    }
}
