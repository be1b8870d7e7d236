//! Why a run stopped.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, TrainError>;

/// An error of training; each says what to look at.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A value of the `[train]` section cannot be used.
    #[error("train.{key} = {value} cannot be used; fix: {fix}")]
    Config {
        /// The key below `train`.
        key: &'static str,
        /// The value found.
        value: String,
        /// What would be right.
        fix: String,
    },
    /// A health check found that the run does not learn.
    #[error("step {step}: {finding}")]
    Unhealthy {
        /// Step at which it was found, from 1.
        step: u64,
        /// What was found, what it means and what to try.
        finding: String,
    },
    /// A checkpoint cannot be written, read or continued from.
    #[error("{path}: {problem}")]
    Checkpoint {
        /// The checkpoint file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The run was stopped by Ctrl-C; its checkpoint is on disk.
    #[error("stopped by Ctrl-C at step {step}; the same command continues from there")]
    Interrupted {
        /// Steps done.
        step: u64,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The loss refused its input.
    #[error(transparent)]
    Loss(#[from] simcse_losses::LossError),
    /// Tokens cannot be cut or masked.
    #[error(transparent)]
    Data(#[from] simcse_data::DataError),
    /// Making a batch or measuring the dev score failed.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}
