//! The head of masked language modelling: token states to logits over the vocabulary.

use candle_core::{Result, Tensor, bail};
use simcse_ops::Segments;
use simcse_ops::layer_norm::LayerNormSites;
use simcse_ops::linear::{Activation, Precision, linear};

use super::config::{Architecture, TransformerConfig};
use super::names::MaskedLmNames;
use super::network::{Initial, Linear, Norm, Parameters};

/// dense → activation → norm → product with the word table (tied) + bias. ALBERT's dense layer leads from
/// `H` to `E`. The original has no dropout here.
#[derive(Debug)]
pub(super) struct MaskedLmHead {
    dense: Linear,
    norm: Norm,
    /// `[V]`.
    bias: Tensor,
    activation: Activation,
}

impl MaskedLmHead {
    pub(super) fn build(config: &TransformerConfig, parameters: &mut Parameters<'_>) -> Result<Self> {
        let names = MaskedLmNames::of(config.architecture);
        let size = config.embedding_size;
        Ok(Self {
            dense: Linear::build(names.dense, size, config.hidden_size, parameters)?,
            norm: Norm::build(names.norm, size, config.layer_norm_eps, parameters)?,
            bias: parameters(names.bias, &[config.vocab_size], Initial::Zeros)?,
            activation: match config.architecture {
                Architecture::Bert | Architecture::Albert => config.hidden_act.into(),
                // `RobertaLMHead` does not ask the configuration.
                Architecture::Roberta | Architecture::XlmRoberta => Activation::Gelu,
            },
        })
    }

    /// Logits `[M, V]` of the tokens at `positions` among the `states` `[T, H]`.
    pub(super) fn logits(
        &self,
        states: &Tensor,
        positions: &[u32],
        words: &Tensor,
        precision: Precision,
    ) -> Result<Tensor> {
        let (tokens, count) = (states.dims()[0], positions.len());
        if let Some(position) = positions.iter().find(|position| **position as usize >= tokens) {
            bail!("masked language modelling: position {position} in a batch of {tokens} tokens");
        }
        if count == 0 {
            bail!("masked language modelling: no token is masked; fix: leave the step's auxiliary loss out");
        }
        let states = states.index_select(&Tensor::from_slice(positions, count, states.device())?, 0)?;
        let segments = Segments::new(&[0, count as u32])?;
        let sites =
            LayerNormSites { segments: &segments, residual: None, input_masks: None, output_masks: None };
        let states = self.norm.apply(&self.dense.apply(&states, self.activation, precision)?, sites)?;
        linear(&states, words, &self.bias, Activation::Identity, precision)
    }
}
