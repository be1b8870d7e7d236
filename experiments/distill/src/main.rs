//! A student that follows the embeddings of a teacher: a TextCNN or a transformer of two layers learns what a SimCSE
//! encoder, or all twelve layers of e5, says of unlabelled sentences.
//!
//! `just exp-distill` trains and scores the headline configuration.

use simcse_bench::experiment::ExperimentCli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ExperimentCli::main()
}
