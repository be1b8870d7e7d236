//! What can go wrong with a loss.

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, LossError>;

/// An error of this crate; each message is one line that names the mend.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// A value of the configuration is out of range.
    #[error("loss configuration: {key} = {value}: {problem}; fix: {fix}")]
    Config {
        /// The key as it stands in the configuration file.
        key: &'static str,
        /// The value found.
        value: String,
        /// What is wrong.
        problem: &'static str,
        /// What would be right.
        fix: &'static str,
    },
    /// Embeddings whose shapes, groups or values do not fit.
    #[error("{0}")]
    Embeddings(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
