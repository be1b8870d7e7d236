//! Training, end to end on tiny networks: exactness, checkpoints, health, optimiser, selection, every loss.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod auxiliary;
mod batch_centres;
mod checkpoint;
mod class_margin;
mod common;
mod config;
mod distillation;
mod exact;
mod gradient_cache;
mod health;
mod labelled;
mod momentum_queue;
mod optimizer;
mod selection;
mod shared_mask;
