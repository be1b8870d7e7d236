//! Unsupervised SimCSE with a pretrained transformer: the same sentence twice, dropout between.
//!
//! `just exp-bert-unsup` trains and scores the headline configuration; `just exp-bert-unsup-all` runs every row
//! of the tables.

use simcse_bench::experiment::ExperimentCli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ExperimentCli::main()
}
