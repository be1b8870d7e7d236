//! The command as users meet it: the built program on small files, with all that can be wrong with them.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod bad_config;
mod bad_data;
mod bad_disk;
mod common;
mod interrupted;
mod sample;
mod sweep;
