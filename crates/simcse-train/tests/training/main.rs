//! Training, end to end on tiny networks: exactness, checkpoints, health, optimiser, selection.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod checkpoint;
mod common;
mod config;
mod exact;
mod health;
mod optimizer;
mod selection;
