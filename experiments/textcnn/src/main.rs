//! Unsupervised SimCSE with a TextCNN: is dropout enough for a network this simple?
//!
//! `just exp-textcnn` trains and scores the headline configuration; `just exp-textcnn-all` runs every
//! ablation of `configs/`.

use simcse_bench::experiment::ExperimentCli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ExperimentCli::main()
}
