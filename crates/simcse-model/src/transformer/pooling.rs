//! From token states to one embedding for each sentence: one code for training and for test.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use simcse_ops::Segments;
use simcse_ops::embedding::embedding;
use simcse_ops::linear::{Activation, Precision};
use simcse_ops::pooling::{Reduction, pool};

use super::config::TransformerConfig;
use super::network::{Initial, Linear, Parameters, Pass};

/// How a sentence's token states become its embedding.
///
/// Rows of tables: "SimCSE" is table 6 of Gao et al. 2021 (which pooling), "Su" the methods P1 to P4 of Su
/// 2021 (kexue.fm, archives 8321 and 8348). Every token counts, special tokens too, as in both codes; a
/// ragged batch holds no padding to leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The last state of the first token. SimCSE: "`[CLS]` w/o MLP"; Su: P1.
    Cls,
    /// The first token through a linear layer and tanh in training, without them at test time. SimCSE:
    /// "`[CLS]` w/ MLP (train)", its choice for unsupervised training (`--mlp_only_train`).
    ClsTanhInTraining,
    /// The first token through a linear layer and tanh. SimCSE: "`[CLS]` w/ MLP", its choice for supervised
    /// training. Su: P2, whose layer is the one trained for next sentence prediction; ours begins fresh, as
    /// SimCSE's does.
    ClsTanh,
    /// The mean of the last states of all tokens. Su: P3.
    Mean,
    /// The mean over tokens of (output of layer 1 + output of the last layer) / 2. SimCSE: "First-last avg.";
    /// Su: P4. The first of the two is not the embedding layer (issue 285 of SimCSE's repository).
    FirstLastMean,
    /// The largest value of each feature over the last states of all tokens. In neither table.
    Max,
    /// Learned mixing of layers: the mean over tokens of Σ softmax(w)ₗ · (output of layer l), where l = 0 is
    /// the embedding layer; w is trained and begins with zeros. After Peters et al. 2018 (ELMo), equation 1
    /// without γ, which a cosine does not see.
    LayerMix,
    /// The mean of the last states weighted by token: `Σ exp(w[id]) · state / Σ exp(w[id])`, with one trained
    /// number for each token of the vocabulary. At zeros it is [`Pooling::Mean`]; begun with
    /// ln(a / (a + frequency)) it is the weighted average of Arora et al. 2017 ("A Simple but Tough-to-Beat
    /// Baseline for Sentence Embeddings", algorithm 1, line 2) over contextual states.
    WeightedMean,
    /// Between [`Pooling::WeightedMean`] and [`Pooling::Max`]: `ln(Σ exp(w[id]) exp(β · state) / Σ exp(w[id])) / β`
    /// with the weights of the former and a trained sharpness β, begun with 1. β → 0 is the weighted mean and
    /// β → ∞ the maximum (generalised pooling: Boureau et al. 2010, "A Theoretical Analysis of Feature Pooling in
    /// Visual Recognition", section 3).
    SmoothMaximum,
}

impl Pooling {
    /// Whether tokens have weights.
    pub fn weighs_tokens(self) -> bool {
        matches!(self, Self::WeightedMean | Self::SmoothMaximum)
    }

    /// Whether the output of `layer` (0: the embedding layer) enters.
    pub(super) fn uses(self, layer: usize, layers: usize) -> bool {
        match self {
            Self::LayerMix => true,
            Self::FirstLastMean => layer == 1 || layer == layers,
            _ => layer == layers,
        }
    }

    /// How one layer's states become one vector. Means over layers and over tokens may be exchanged.
    pub(super) fn reduction(self) -> Reduction {
        match self {
            Self::Cls | Self::ClsTanhInTraining | Self::ClsTanh => Reduction::First,
            Self::Mean | Self::FirstLastMean | Self::LayerMix | Self::WeightedMean | Self::SmoothMaximum => {
                Reduction::Mean
            }
            Self::Max => Reduction::Max,
        }
    }
}

/// What a pooling has to learn.
#[derive(Debug)]
pub(super) struct Head {
    pooling: Pooling,
    /// `[H, H]` and `[H]`.
    dense: Option<Linear>,
    /// `[L + 1]`.
    layer_weights: Option<Tensor>,
    /// Logarithms, `[V]`.
    token_weights: Option<Tensor>,
    /// `[1]`.
    sharpness: Option<Tensor>,
}

impl Head {
    pub(super) fn build(
        pooling: Pooling,
        config: &TransformerConfig,
        parameters: &mut Parameters<'_>,
    ) -> Result<Self> {
        let (hidden_size, layers) = (config.hidden_size, config.num_hidden_layers);
        let mut head =
            Self { pooling, dense: None, layer_weights: None, token_weights: None, sharpness: None };
        match pooling {
            Pooling::ClsTanh | Pooling::ClsTanhInTraining => {
                head.dense = Some(Linear::build("head.dense", hidden_size, hidden_size, parameters)?);
            }
            Pooling::LayerMix => {
                head.layer_weights = Some(parameters("head.layer_weights", &[layers + 1], Initial::Zeros)?);
            }
            Pooling::WeightedMean | Pooling::SmoothMaximum => {
                let name = "head.token_weights";
                head.token_weights = Some(parameters(name, &[config.vocab_size], Initial::Zeros)?);
                if pooling == Pooling::SmoothMaximum {
                    head.sharpness = Some(parameters("head.sharpness", &[1], Initial::Ones)?);
                }
            }
            _ => {}
        }
        Ok(head)
    }

    /// One vector for each sentence from the states of one layer, `[T, H]` → `[S, H]`.
    pub(super) fn reduce(&self, states: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let segments = &pass.segments;
        let Some(weights) = &self.token_weights else {
            return pool(states, segments, self.pooling.reduction());
        };
        let weights = embedding(&weights.unsqueeze(1)?, pass.batch.ids(), segments, None)?.exp()?; // [T, 1]
        match &self.sharpness {
            Some(sharpness) => smooth_maximum(states, &weights, sharpness, segments),
            None => weighted_mean(states, &weights, segments),
        }
    }

    /// Embeddings `[S, H]` from the reduced states `[S, H]` of the layers in use, first layer first.
    pub(super) fn apply(&self, reduced: &[Tensor], training: bool) -> Result<Tensor> {
        let [.., last] = reduced else { candle_core::bail!("pooling: no layer") };
        match (self.pooling, &self.dense, &self.layer_weights) {
            (Pooling::FirstLastMean, ..) => (&reduced[0] + last)? * 0.5,
            (Pooling::LayerMix, _, Some(weights)) => mix(reduced, weights),
            (Pooling::ClsTanhInTraining, ..) if !training => Ok(last.clone()),
            (_, Some(dense), _) => dense.apply(last, Activation::Tanh, Precision::Float32),
            _ => Ok(last.clone()),
        }
    }
}

/// `[T, H]` with weights `[T, 1]` → `[S, H]`.
fn weighted_mean(states: &Tensor, weights: &Tensor, segments: &Segments) -> Result<Tensor> {
    let sums = pool(&states.broadcast_mul(weights)?, segments, Reduction::Mean)?;
    sums.broadcast_div(&pool(weights, segments, Reduction::Mean)?)
}

/// As [`weighted_mean`]. Powers are taken of the distance to the sentence's maximum, which is a constant to the
/// gradient: what is subtracted within comes back outside.
fn smooth_maximum(
    states: &Tensor,
    weights: &Tensor,
    sharpness: &Tensor,
    segments: &Segments,
) -> Result<Tensor> {
    let peaks = pool(&states.detach(), segments, Reduction::Max)?; // [S, H]
    let sentences: Vec<u32> = (0..segments.len())
        .flat_map(|sentence| std::iter::repeat_n(sentence as u32, segments.range(sentence).len()))
        .collect();
    let peaks_of_tokens = embedding(&peaks, &sentences, segments, None)?; // [T, H]
    let powers = (states - peaks_of_tokens)?.broadcast_mul(sharpness)?.exp()?;
    peaks + weighted_mean(&powers, weights, segments)?.log()?.broadcast_div(sharpness)?
}

/// Σ softmax(weights)ₗ · reducedₗ.
fn mix(reduced: &[Tensor], weights: &Tensor) -> Result<Tensor> {
    let powers = weights.broadcast_sub(&weights.detach().max(0)?)?.exp()?;
    let shares = powers.broadcast_div(&powers.sum(0)?)?.reshape((reduced.len(), 1, 1))?;
    Tensor::stack(reduced, 0)?.broadcast_mul(&shares)?.sum(0) // [L + 1, S, H] → [S, H]
}
