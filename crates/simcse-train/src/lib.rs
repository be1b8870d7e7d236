//! The training loop and what it stands on.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | batch size, steps, optimiser, schedule, evaluation, as a TOML section |
//! | [`optimizer`] | AdamW with parameter groups, clipping by global norm |
//! | [`schedule`] | learning rate by step |
//! | [`objective`] | embeddings of a batch → loss and what the health checks look at; momentum queue |
//! | [`auxiliary`], [`masked_language`] | a second loss with a forward pass of its own |
//! | `step_batch` | the rows of a step: anchors, positives, hard negatives |
//! | `gradient_cache` | a batch in pieces, with the gradients of the whole |
//! | [`health`] | checks that stop a run which does not learn, and say why |
//! | [`class_table`] | centres of classes, all or sampled, and their lazy update |
//! | `own_parameter` | what a checkpoint holds of an objective's parameters |
//! | [`checkpoint`] | exact state on disk: a killed run continues to the same bits |
//! | [`run_loop`] | the loop |
//! | [`progress`] | bars on a terminal, lines in a pipe |
//!
//! A batch, its augmentation and its dropout masks are functions of (seed, step): there is no generator
//! whose position would have to be saved.

pub mod auxiliary;
pub mod checkpoint;
pub mod class_table;
pub mod config;
mod error;
mod gradient_cache;
pub mod health;
pub mod interrupt;
pub mod masked_language;
pub mod objective;
pub mod optimizer;
mod own_parameter;
pub mod progress;
pub mod run_loop;
pub mod schedule;
mod step_batch;

pub use config::TrainConfig;
pub use error::{Result, TrainError};
pub use run_loop::{BatchSource, Observer, Outcome, Trainer};
pub use step_batch::StepBatch;
