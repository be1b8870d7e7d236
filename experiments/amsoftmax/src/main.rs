//! Sentences as classes: every sentence is an identity, its dropout views are its pictures, and the encoder is trained
//! like face recognition, by margin softmax over all classes.
//!
//! `just exp-amsoftmax` trains and scores the headline configuration.

use simcse_bench::experiment::ExperimentCli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ExperimentCli::main()
}
