//! The command as users meet it: the built program on a tiny checkpoint and small labelled files.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod bad_data;
mod common;
mod runs;
