//! The command as users meet it: the built program on a tiny checkpoint and small files.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod bad_checkpoint;
mod common;
mod hub;
mod interrupted;
mod runs;
