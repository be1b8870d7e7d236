//! Losses over sentence embeddings; knows neither text nor models.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | which loss, with which constants; read from an experiment's TOML file |
//! | [`similarity`] | cosine and dot product of all pairs, safe for vectors of norm zero |
//! | [`info_nce`](mod@info_nce) | contrastive loss over in-batch candidates (Gao et al. 2021, equation 1) |
//! | [`geometry`] | alignment and uniformity (Wang and Isola 2020), for evaluation |
//!
//! A loss is a pure function of embeddings: it returns one value per anchor beside the mean, and what the
//! health checks look at. Everything that is trained through is made of candle's differentiable
//! operations; `softmax_last_dim`, which has no backward, is not used.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails may panic"))]

pub mod config;
mod error;
pub mod geometry;
pub mod info_nce;
pub mod similarity;

pub use config::{Candidates, InfoNceConfig, LossConfig};
pub use error::{LossError, Result};
pub use geometry::{alignment, uniformity};
pub use info_nce::{ContrastiveDiagnostics, InfoNce, info_nce};
pub use similarity::{Similarity, l2_normalize};
