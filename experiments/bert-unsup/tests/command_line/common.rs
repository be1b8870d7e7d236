//! A tiny transformer in the small world of these tests.

#[path = "../../../../crates/simcse-bench/tests/support/transformer.rs"]
pub(crate) mod transformer;
#[path = "../../../../crates/simcse-bench/tests/support/world.rs"]
pub(crate) mod world;

use transformer::{CHECKPOINT, INFO_NCE, config, write_checkpoint};
pub(crate) use world::{World, assert_says, error_line, stderr};

/// The folder of a run below the results.
pub(crate) const RUN: &str = "runs/bert-unsup/small-s1";

impl World {
    /// A checkpoint of two layers, and 12 steps on the sentences of LCQMC's dev set.
    pub(crate) fn new() -> Self {
        let config = config("bert-unsup", "train = [\"lcqmc/dev\"]", INFO_NCE);
        let world = Self::with(env!("CARGO_BIN_EXE_exp-bert-unsup"), RUN, &config);
        write_checkpoint(&world, CHECKPOINT, 2);
        world
    }
}

/// Everything that carries state from step to step: the queue with its momentum encoder, pieces of a batch,
/// masked tokens, every stream of augmentation, a prefix, a layer of training.
pub(crate) const EVERYTHING: [&str; 14] = [
    "--set",
    "loss.queue={size=20,momentum=0.9}",
    "--set",
    "train.gradient_cache_rows=6",
    "--set",
    "masked_language={weight=0.1,rate=0.15}",
    "--set",
    "encoder.pooling=cls_tanh_in_training",
    "--set",
    "augmentation.repetition=0.3",
    "--set",
    "augmentation.deletion=0.1",
    "--set",
    "encoder.prefix=问:",
];
