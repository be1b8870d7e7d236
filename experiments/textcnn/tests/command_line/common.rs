//! A TextCNN in the small world of these tests.

#[path = "../../../../crates/simcse-bench/tests/support/world.rs"]
mod world;

pub(crate) use world::{World, assert_says, error_line, pairs, stderr};

/// The committed configuration, of which [`World::new`] writes a small version.
const HEADLINE: &str = include_str!("../../configs/dropout-only.toml");

/// The folder of a run below the results.
pub(crate) const RUN: &str = "runs/textcnn/dropout-only-s1";

impl World {
    /// LCQMC of 60 and 30 made-up pairs; a network of some hundred parameters for 12 steps on them.
    pub(crate) fn new() -> Self {
        let config = world::small_text_cnn(HEADLINE);
        Self::with(env!("CARGO_BIN_EXE_exp-textcnn"), RUN, &config)
    }
}
