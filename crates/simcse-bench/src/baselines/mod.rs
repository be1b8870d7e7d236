//! What can be had without training. (The untrained encoder is a training run of 0 steps.)

mod character_vectors;
mod jaccard;
mod recorded;

pub use character_vectors::{MeanGivenVectors, MeanRandomVectors};
pub use jaccard::CharacterJaccard;
pub use recorded::{Baseline, CHARACTER_VECTORS, evaluate_baseline, record_baselines};
