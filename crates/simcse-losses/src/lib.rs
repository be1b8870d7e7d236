//! Losses over sentence embeddings; knows neither text nor models.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | which loss, with which constants; read from an experiment's TOML file |
//! | [`similarity`] | cosine and dot product of all pairs, safe for vectors of norm zero |
//! | [`info_nce`](mod@info_nce) | contrastive loss over in-batch candidates (Gao et al. 2021, equations 1 and 5) |
//! | [`negatives`] | hard negatives, queue and equal texts, for `info_nce` |
//! | [`cosent`](mod@cosent) | order of cosines after gold scores (Su 2022) |
//! | [`margin`] | softmax over sentence classes with a margin |
//! | [`batch_centres`](mod@batch_centres) | the same over the classes of a batch, whose centres are the means of their views |
//! | [`distillation`] | what a student takes over from a teacher's embeddings |
//! | [`masked_lm`] | cross-entropy of masked tokens over the vocabulary |
//! | [`geometry`] | alignment and uniformity (Wang and Isola 2020), for evaluation |
//!
//! A loss is a pure function of embeddings; the contrastive one returns one value per anchor beside the mean,
//! and what the health checks look at. What is trained through is made of candle's differentiable operations
//! (`softmax_last_dim`, which has no backward, is not used); only the cross-entropy over a vocabulary and
//! the likelihood of an order have a backward of their own, for the sake of memory.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails may panic"))]

pub mod batch_centres;
pub mod config;
mod contrast;
pub mod cosent;
pub mod distillation;
mod error;
pub mod geometry;
pub mod info_nce;
mod layout;
pub mod margin;
pub mod masked_lm;
pub mod negatives;
pub mod similarity;

pub use batch_centres::{BatchCentres, BatchCentresConfig, batch_centres};
pub use config::{Candidates, CosentConfig, InfoNceConfig, LossConfig, QueueConfig};
pub use cosent::cosent;
pub use distillation::DistillationConfig;
pub use error::{LossError, Result};
pub use geometry::{alignment, uniformity};
pub use info_nce::{ContrastiveDiagnostics, InfoNce, info_nce, info_nce_with};
pub use margin::{ClassUpdate, InitialCentres, MarginKind, MarginSoftmaxConfig};
pub use masked_lm::masked_lm_loss;
pub use negatives::{HardNegatives, Negatives, RowGroups};
pub use similarity::{Similarity, l2_normalize};
