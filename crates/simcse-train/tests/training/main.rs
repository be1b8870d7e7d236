//! Training, end to end on tiny networks: exactness, checkpoints, health, optimiser, selection.

mod checkpoint;
mod common;
mod config;
mod exact;
mod health;
mod optimizer;
mod selection;
