//! The computation: embedding layer and layers of attention and feed-forward blocks, on ragged batches.

use candle_core::{Result, Tensor, bail};
use simcse_data::TokenBatch;
use simcse_ops::Segments;
use simcse_ops::layer_norm::{LayerNormSites, LayerNormWeights, layer_norm};
use simcse_ops::linear::{Activation, Precision, linear};
use simcse_ops::tape::{NormSites, Rows, States, Tape};

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
        layer_norm(input, self.weights(), sites)
    }

    fn weights(&self) -> LayerNormWeights<'_> {
        LayerNormWeights { weight: &self.weight, bias: &self.bias, epsilon: self.epsilon }
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
    /// `[T, H]` → `[T, H]`, or → `[S, H]` of the first tokens alone. `number` names the sites: ALBERT's one layer has
    /// masks of its own at every depth.
    fn forward(
        &self,
        tape: &mut Tape,
        states: &States,
        number: usize,
        config: &TransformerConfig,
        pass: &Pass<'_>,
        first_only: bool,
    ) -> Result<States> {
        let Pass { batch, mode, rates, precision, .. } = pass;
        let masks = |place: &str, rate| mode.masks(&format!("layer.{number}.{place}"), rate, batch);
        let probabilities = masks("attention_probabilities", rates.attention_probabilities)?;
        let heads = config.num_attention_heads;
        let linear = |tape: &mut Tape, input: &States, layers: &[&Linear], activation| {
            let layers: Vec<_> = layers.iter().map(|layer| (&layer.weight, &layer.bias)).collect();
            tape.linear(input, &layers, activation, *precision)
        };
        let identity = Activation::Identity;
        let (projected, residual) = if first_only {
            let first = tape.first_rows(states, &pass.segments)?;
            let queries = linear(tape, &first, &[&self.query], identity)?;
            let others = linear(tape, states, &[&self.key, &self.value], identity)?;
            (tape.beside_first_queries(&queries, &others, &pass.segments)?, first)
        } else {
            (linear(tape, states, &[&self.query, &self.key, &self.value], identity)?, states.clone())
        };
        let mixed = tape.attention(&projected, heads, &pass.segments, probabilities.as_ref(), first_only)?;
        // From here on each token is by itself; a first token has the masks that it has among the others.
        let segments =
            if first_only { Segments::of_single_tokens(pass.segments.len()) } else { pass.segments.clone() };
        let mixed = linear(tape, &mixed, &[&self.attention_output], identity)?;
        let input_masks = masks("attention_output", rates.attention_output)?;
        let sites = NormSites {
            segments: &segments,
            residual: Some(&residual),
            input_masks: input_masks.as_ref(),
            output_masks: None,
        };
        let states = tape.layer_norm(&mixed, self.attention_norm.weights(), sites)?;
        let inner = linear(tape, &states, &[&self.intermediate], config.hidden_act.into())?;
        let output = linear(tape, &inner, &[&self.output], identity)?;
        let input_masks = masks("feed_forward_output", rates.feed_forward_output)?;
        let sites = NormSites { residual: Some(&states), input_masks: input_masks.as_ref(), ..sites };
        tape.layer_norm(&output, self.output_norm.weights(), sites)
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

    /// Runs a batch through the network. Gives the states `[T, H]` of each layer for which `wants(layer)`, embedding
    /// layer (0) first; or, with `first_only`, those of the last layer's first tokens `[S, H]` alone, without the work
    /// that only other tokens need.
    pub(super) fn run(
        &self,
        config: &TransformerConfig,
        pass: &Pass<'_>,
        wants: impl Fn(usize) -> bool,
        first_only: bool,
    ) -> Result<Vec<Tensor>> {
        let (mut tape, mut states) = self.embed(config, pass)?;
        let last = self.layers.len();
        let mut wanted = Vec::new();
        if wants(0) {
            wanted.push(states.clone());
        }
        for (number, layer) in self.layers.iter().enumerate() {
            let first_only = first_only && number + 1 == last;
            states = layer.forward(&mut tape, &states, number, config, pass, first_only)?;
            if wants(number + 1) {
                wanted.push(states.clone());
            }
        }
        tape.finish(&wanted)
    }

    /// `[T, H]`: word + position + type 0, norm, dropout, and ALBERT's mapping.
    fn embed(&self, config: &TransformerConfig, pass: &Pass<'_>) -> Result<(Tape, States)> {
        let (batch, longest, room) = (pass.batch, pass.batch.longest(), config.max_tokens());
        if longest > room {
            bail!(
                "a sentence of {longest} tokens for an encoder with {room} positions; fix: lower max_tokens"
            );
        }
        let first = config.first_position() as u32;
        let places: Vec<u32> =
            batch.offsets().windows(2).flat_map(|pair| first..first + pair[1] - pair[0]).collect();
        let (mut tape, sums) = Tape::begin_with_rows(&[
            Rows { table: &self.words, ids: batch.ids() },
            Rows { table: &self.positions, ids: &places },
            Rows { table: &self.types, ids: &vec![0; places.len()] },
        ])?;
        let output_masks = pass.mode.masks("embeddings", pass.rates.embeddings, batch)?;
        let (segments, output_masks) = (&pass.segments, output_masks.as_ref());
        let sites = NormSites { segments, residual: None, input_masks: None, output_masks };
        let states = tape.layer_norm(&sums, self.norm.weights(), sites)?;
        let states = match &self.mapping {
            Some(Linear { weight, bias }) => {
                tape.linear(&states, &[(weight, bias)], Activation::Identity, pass.precision)?
            }
            None => states,
        };
        Ok((tape, states))
    }
}
