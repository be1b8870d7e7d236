//! Supervised SimCSE with a pretrained transformer: entailments as positives, contradictions as hard negatives.
//!
//! `just exp-bert-sup` trains and scores the headline configuration; `just exp-bert-sup-all` runs every row of
//! the tables.

use simcse_bench::experiment::ExperimentCli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ExperimentCli::main()
}
