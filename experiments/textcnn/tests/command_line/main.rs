//! The command as users meet it: the built program on small files, with all that can be wrong with them.

mod bad_config;
mod bad_data;
mod bad_disk;
mod common;
mod interrupted;
mod sample;
mod sweep;
