//! The computation: embedding layer and layers of attention and feed-forward blocks, on ragged batches.

use candle_core::{Result, Tensor, bail};
use simcse_data::TokenBatch;
use simcse_ops::Segments;
use simcse_ops::attention::attention;
use simcse_ops::embedding::embedding;
use simcse_ops::layer_norm::{LayerNormSites, LayerNormWeights, layer_norm};
use simcse_ops::linear::{Activation, Precision, linear};

use super::config::TransformerConfig;
use super::dropout::DropoutRates;
use super::names::LayerNames;
use crate::Mode;

/// How a parameter begins: as `transformers` begins it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Initial {
    /// N(0, 0.02²).
    Normal,
    Zeros,
    Ones,
}

/// Gives the parameter of a name and shape. Whoever builds asks for each parameter once, so this is also
/// the list of parameters.
pub(crate) type Parameters<'a> = dyn FnMut(&str, &[usize], Initial) -> Result<Tensor> + 'a;

/// Weight `[N, K]` and bias `[N]`.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

impl Linear {
    pub(super) fn build(
        name: &str,
        outputs: usize,
        inputs: usize,
        parameters: &mut Parameters<'_>,
    ) -> Result<Self> {
        Ok(Self {
            weight: parameters(&format!("{name}.weight"), &[outputs, inputs], Initial::Normal)?,
            bias: parameters(&format!("{name}.bias"), &[outputs], Initial::Zeros)?,
        })
    }

    pub(super) fn apply(
        &self,
        input: &Tensor,
        activation: Activation,
        precision: Precision,
    ) -> Result<Tensor> {
        linear(input, &self.weight, &self.bias, activation, precision)
    }
}

/// Weight and bias `[H]`.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    pub(super) fn build(
        name: &str,
        size: usize,
        epsilon: f64,
        parameters: &mut Parameters<'_>,
    ) -> Result<Self> {
        Ok(Self {
            weight: parameters(&format!("{name}.weight"), &[size], Initial::Ones)?,
            bias: parameters(&format!("{name}.bias"), &[size], Initial::Zeros)?,
            epsilon,
        })
    }

    pub(super) fn apply(&self, input: &Tensor, sites: LayerNormSites<'_>) -> Result<Tensor> {
        let weights = LayerNormWeights { weight: &self.weight, bias: &self.bias, epsilon: self.epsilon };
        layer_norm(input, weights, sites)
    }
}

/// One layer: attention block and feed-forward block, each with a norm after its residual.
#[derive(Debug, Clone)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
}

impl Layer {
    fn build(
        names: &LayerNames,
        config: &TransformerConfig,
        parameters: &mut Parameters<'_>,
    ) -> Result<Self> {
        let (size, inner, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        Ok(Self {
            query: Linear::build(&names.query, size, size, parameters)?,
            key: Linear::build(&names.key, size, size, parameters)?,
            value: Linear::build(&names.value, size, size, parameters)?,
            attention_output: Linear::build(&names.attention_output, size, size, parameters)?,
            attention_norm: Norm::build(&names.attention_norm, size, epsilon, parameters)?,
            intermediate: Linear::build(&names.intermediate, inner, size, parameters)?,
            output: Linear::build(&names.output, size, inner, parameters)?,
            output_norm: Norm::build(&names.output_norm, size, epsilon, parameters)?,
        })
    }

    /// Queries, keys and values `[T, 3H]` as one product.
    fn project(&self, states: &Tensor, precision: Precision) -> Result<Tensor> {
        let weight = Tensor::cat(&[&self.query.weight, &self.key.weight, &self.value.weight], 0)?;
        let bias = Tensor::cat(&[&self.query.bias, &self.key.bias, &self.value.bias], 0)?;
        linear(states, &weight, &bias, Activation::Identity, precision)
    }
}

/// One batch on its way through the network.
pub(super) struct Pass<'a> {
    pub(super) batch: &'a TokenBatch,
    pub(super) segments: Segments,
    pub(super) mode: Mode,
    pub(super) rates: DropoutRates,
    pub(super) precision: Precision,
}

impl Layer {
    /// `[T, H]` → `[T, H]`. `number` names the sites: ALBERT's one layer has masks of its own at every depth.
    fn forward(
        &self,
        states: &Tensor,
        number: usize,
        config: &TransformerConfig,
        pass: &Pass<'_>,
    ) -> Result<Tensor> {
        let Pass { batch, segments, mode, rates, .. } = pass;
        let precision = pass.precision;
        let masks = |place: &str, rate| mode.masks(&format!("layer.{number}.{place}"), rate, batch);
        let probabilities = masks("attention_probabilities", rates.attention_probabilities)?;
        let heads = config.num_attention_heads;
        let mixed = attention(&self.project(states, precision)?, heads, segments, probabilities.as_ref())?;
        let mixed = self.attention_output.apply(&mixed, Activation::Identity, precision)?;
        let input_masks = masks("attention_output", rates.attention_output)?;
        let sites = LayerNormSites {
            segments,
            residual: Some(states),
            input_masks: input_masks.as_ref(),
            output_masks: None,
        };
        let states = self.attention_norm.apply(&mixed, sites)?;
        let inner = self.intermediate.apply(&states, config.hidden_act.into(), precision)?;
        let output = self.output.apply(&inner, Activation::Identity, precision)?;
        let input_masks = masks("feed_forward_output", rates.feed_forward_output)?;
        let sites = LayerNormSites { residual: Some(&states), input_masks: input_masks.as_ref(), ..sites };
        self.output_norm.apply(&output, sites)
    }
}

/// Embedding layer and layers, in tensors that track gradients or in tensors that do not.
#[derive(Debug)]
pub(super) struct Network {
    /// `[V, E]`.
    pub(super) words: Tensor,
    /// `[P, E]`.
    positions: Tensor,
    /// `[types, E]`; a sentence alone is of type 0.
    types: Tensor,
    norm: Norm,
    /// ALBERT: from `E` to `H`.
    mapping: Option<Linear>,
    layers: Vec<Layer>,
}

impl Network {
    pub(super) fn build(config: &TransformerConfig, parameters: &mut Parameters<'_>) -> Result<Self> {
        let size = config.embedding_size;
        let mut table = |name: &str, rows| {
            parameters(&format!("embeddings.{name}_embeddings.weight"), &[rows, size], Initial::Normal)
        };
        let words = table("word", config.vocab_size)?;
        let positions = table("position", config.max_position_embeddings)?;
        let types = table("token_type", config.type_vocab_size)?;
        let norm = Norm::build("embeddings.LayerNorm", size, config.layer_norm_eps, parameters)?;
        let (mapping, layers) = match LayerNames::shared(config.architecture) {
            Some(names) => {
                let name = "encoder.embedding_hidden_mapping_in";
                let mapping = Linear::build(name, config.hidden_size, size, parameters)?;
                let layer = Layer::build(&names, config, parameters)?;
                (Some(mapping), vec![layer; config.num_hidden_layers])
            }
            None => {
                let layer = |number| Layer::build(&LayerNames::numbered(number), config, parameters);
                (None, (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?)
            }
        };
        Ok(Self { words, positions, types, norm, mapping, layers })
    }

    /// Runs a batch through the network and shows each layer's states `[T, H]`, embedding layer (0) first.
    pub(super) fn run(
        &self,
        config: &TransformerConfig,
        pass: &Pass<'_>,
        mut visit: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut states = self.embed(config, pass)?;
        visit(0, &states)?;
        for (number, layer) in self.layers.iter().enumerate() {
            states = layer.forward(&states, number, config, pass)?;
            visit(number + 1, &states)?;
        }
        Ok(())
    }

    /// `[T, H]`: word + position + type 0, norm, dropout, and ALBERT's mapping.
    fn embed(&self, config: &TransformerConfig, pass: &Pass<'_>) -> Result<Tensor> {
        let (batch, longest, room) = (pass.batch, pass.batch.longest(), config.max_tokens());
        if longest > room {
            bail!(
                "a sentence of {longest} tokens for an encoder with {room} positions; fix: lower max_tokens"
            );
        }
        let words = embedding(&self.words, batch.ids(), &pass.segments, None)?;
        let rows = self.positions.narrow(0, config.first_position(), longest)?;
        let rows = rows.broadcast_add(&self.types.narrow(0, 0, 1)?)?; // [longest, E]
        let places: Vec<u32> = batch.offsets().windows(2).flat_map(|pair| 0..pair[1] - pair[0]).collect();
        let places = embedding(&rows, &places, &pass.segments, None)?;
        let output_masks = pass.mode.masks("embeddings", pass.rates.embeddings, batch)?;
        let sites = LayerNormSites {
            segments: &pass.segments,
            residual: Some(&places),
            input_masks: None,
            output_masks: output_masks.as_ref(),
        };
        let states = self.norm.apply(&words, sites)?;
        match &self.mapping {
            Some(mapping) => mapping.apply(&states, Activation::Identity, pass.precision),
            None => Ok(states),
        }
    }
}
