//! The training loop and what it stands on.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | batch size, steps, optimiser, schedule, evaluation, as a TOML section |
//! | [`optimizer`] | AdamW with parameter groups, clipping by global norm |
//! | [`schedule`] | learning rate by step |
//! | [`objective`] | embeddings of a batch → loss and what the health checks look at |
//! | [`health`] | checks that stop a run which does not learn, and say why |
//! | [`checkpoint`] | exact state on disk: a killed run continues to the same bits |
//! | [`run_loop`] | the loop |
//! | [`progress`] | bars on a terminal, lines in a pipe |
//!
//! A batch, its augmentation and its dropout masks are functions of (seed, step): there is no generator
//! whose position would have to be saved.

pub mod checkpoint;
pub mod config;
mod error;
pub mod health;
pub mod interrupt;
pub mod objective;
pub mod optimizer;
pub mod progress;
pub mod run_loop;
pub mod schedule;

pub use config::TrainConfig;
pub use error::{Result, TrainError};
pub use run_loop::{BatchSource, Observer, Outcome, StepBatch, Trainer};
