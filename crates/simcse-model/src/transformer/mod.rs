//! BERT, ALBERT and RoBERTa as sentence encoders, every dropout of the originals at its place.
//!
//! | paper | names of weights | positions |
//! |---|---|---|
//! | BERT (Devlin et al. 2019) | `encoder.layer.{i}.…` | 0, 1, … |
//! | ALBERT (Lan et al. 2020) | `encoder.albert_layer_groups.0.albert_layers.0.…`, used at every depth | 0, 1, … |
//! | RoBERTa (Liu et al. 2019), XLM-R (Conneau et al. 2020) | as BERT | padding id + 1, … |
//!
//! embeddings (word + position + type 0) → norm → **dropout** → for each layer: attention with **dropout** on
//! its probabilities → linear → **dropout** → + residual → norm → linear → activation → linear →
//! **dropout** → + residual → norm; then [`Pooling`].
//!
//! ALBERT has the same four places in its authors' code; the class of `transformers` lacks the last one (it
//! makes the module and does not call it). Dropout of classifier heads (`classifier_dropout_prob`) belongs
//! to heads that an encoder does not have.

mod config;
mod dropout;
mod load;
mod masked_lm;
mod names;
mod network;
mod pooling;
mod weights;

use candle_core::{Result as CandleResult, Tensor};
use simcse_data::TokenBatch;
use simcse_ops::Segments;
use simcse_ops::linear::Precision;
use simcse_ops::pooling::Reduction;
use simcse_random::Stream;

pub use config::{Architecture, HiddenActivation, TransformerConfig};
pub use dropout::DropoutRates;
pub use pooling::Pooling;

use crate::initial::normal;
use crate::{Mode, ModelError, ParameterSet, Result, SentenceEncoder, TokenEncoder};
use masked_lm::MaskedLmHead;
use network::{Initial, Network, Parameters, Pass};
use pooling::Head;

/// What a run decides about a transformer, beside its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerOptions {
    /// Use the first so many layers; `None`: all.
    pub layers: Option<usize>,
    /// Rates of dropout in training.
    pub dropout: DropoutRates,
    /// From token states to an embedding.
    pub pooling: Pooling,
    /// Whether there is a head of masked language modelling, its decoder tied to the word table. Its own
    /// parameters get a gradient from [`TokenEncoder::masked_lm_logits`] alone.
    pub masked_lm: bool,
    /// What the products of the linear layers are computed in. The parameters are float32.
    pub precision: Precision,
}

impl TransformerOptions {
    /// All layers, this pooling, no dropout and no head: to embed text, not to train.
    pub fn evaluation(pooling: Pooling) -> Self {
        let precision = Precision::Float32;
        Self { layers: None, dropout: DropoutRates::NONE, pooling, masked_lm: false, precision }
    }
}

/// A transformer encoder with its parameters, named as in `transformers` without the prefix of a model
/// class, beside `head.dense.weight` `[H, H]`, `head.dense.bias` `[H]`, `head.layer_weights` `[L + 1]` and
/// `head.token_weights` `[V]` and `head.sharpness` `[1]` of the poolings that learn.
#[derive(Debug)]
pub struct Transformer {
    config: TransformerConfig,
    options: TransformerOptions,
    parameters: ParameterSet,
    /// Computes with tensors that track gradients.
    trained: Parts,
    /// The same values in tensors that do not: evaluation keeps no graph.
    detached: Parts,
}

/// Everything that computes.
#[derive(Debug)]
struct Parts {
    network: Network,
    head: Head,
    masked_lm: Option<MaskedLmHead>,
}

fn build_parts(
    config: &TransformerConfig,
    options: &TransformerOptions,
    parameters: &mut Parameters<'_>,
) -> CandleResult<Parts> {
    Ok(Parts {
        network: Network::build(config, parameters)?,
        head: Head::build(options.pooling, config, parameters)?,
        masked_lm: options.masked_lm.then(|| MaskedLmHead::build(config, parameters)).transpose()?,
    })
}

/// A fresh parameter, each from a stream of its own name. `torch.nn.Embedding` also zeroes the row of the
/// padding id, which no ragged batch looks up.
fn draw(name: &str, shape: &[usize], initial: Initial, stream: Stream) -> CandleResult<Tensor> {
    let device = &candle_core::Device::Cpu;
    match initial {
        Initial::Normal => normal(shape, stream.named("transformer").named(name))? * 0.02,
        Initial::Zeros => Tensor::zeros(shape, candle_core::DType::F32, device),
        Initial::Ones => Tensor::ones(shape, candle_core::DType::F32, device),
    }
}

impl Transformer {
    /// A transformer with fresh parameters, as BERT begins: weights N(0, 0.02²), biases 0, norms 1 and 0.
    ///
    /// Fails, naming the key, where `config` or `options` make no network.
    pub fn new(config: TransformerConfig, options: &TransformerOptions, stream: Stream) -> Result<Self> {
        let layers = options.layers.unwrap_or(config.num_hidden_layers);
        if layers > config.num_hidden_layers {
            let problem = format!("the network has {}; fix: give no more", config.num_hidden_layers);
            return Err(ModelError::Config { key: "layers", value: layers.to_string(), problem });
        }
        let config = TransformerConfig { num_hidden_layers: layers, ..config };
        Self::assemble(config, options, &mut |name, shape, initial| draw(name, shape, initial, stream))
    }

    fn assemble(
        config: TransformerConfig,
        options: &TransformerOptions,
        values: &mut Parameters<'_>,
    ) -> Result<Self> {
        config.validate().map_err(|problem| ModelError::Config {
            key: "transformer",
            value: config.architecture_name().to_owned(),
            problem,
        })?;
        options.dropout.validate()?;
        let mut parameters = ParameterSet::default();
        let trained = build_parts(&config, options, &mut |name, shape, initial| {
            parameters.add(name, &values(name, shape, initial)?)
        })?;
        let detached = build_parts(&config, options, &mut |name, _, _| match parameters.get(name) {
            Some(parameter) => Ok(parameter.as_detached_tensor()),
            None => candle_core::bail!("no parameter {name}"),
        })?;
        Ok(Self { config, options: options.clone(), parameters, trained, detached })
    }

    /// Sizes and rules; `num_hidden_layers` is the number of layers in use.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// What the run decided.
    pub fn options(&self) -> &TransformerOptions {
        &self.options
    }

    /// Computes in this precision from now on.
    pub fn set_precision(&mut self, precision: Precision) {
        self.options.precision = precision;
    }

    /// Sets the logarithms of the token weights `[V]` of [`Pooling::WeightedMean`] and [`Pooling::SmoothMaximum`].
    ///
    /// Fails with another pooling and where the number of weights is not that of the vocabulary.
    pub fn set_token_weights(&self, logarithms: &[f32]) -> Result<()> {
        self.set_of_pooling("head.token_weights", logarithms)
    }

    /// Sets the sharpness β of [`Pooling::SmoothMaximum`]. Fails with another pooling.
    pub fn set_sharpness(&self, sharpness: f32) -> Result<()> {
        self.set_of_pooling("head.sharpness", &[sharpness])
    }

    fn set_of_pooling(&self, name: &str, values: &[f32]) -> Result<()> {
        let Some(parameter) = self.parameters.get(name) else {
            let (value, problem) = (format!("{:?}", self.options.pooling), format!("has no {name}"));
            return Err(ModelError::Config { key: "pooling", value, problem });
        };
        Ok(parameter.set(&Tensor::new(values, &candle_core::Device::Cpu)?)?)
    }

    /// Token states `[T, H]`: of the embedding layer, then of each layer.
    ///
    /// Fails as [`SentenceEncoder::forward`].
    pub fn token_states(&self, batch: &TokenBatch, mode: Mode) -> CandleResult<Vec<Tensor>> {
        self.parts(mode).network.run(&self.config, &self.pass(batch, mode)?, |_| true, false)
    }

    fn parts(&self, mode: Mode) -> &Parts {
        match mode {
            Mode::Train(_) => &self.trained,
            Mode::TrainWithoutDropout | Mode::Evaluate => &self.detached,
        }
    }

    fn pass<'a>(&self, batch: &'a TokenBatch, mode: Mode) -> CandleResult<Pass<'a>> {
        let segments = Segments::new(batch.offsets())?;
        let TransformerOptions { dropout: rates, precision, .. } = self.options;
        Ok(Pass { batch, segments, mode, rates, precision })
    }
}

impl SentenceEncoder for Transformer {
    /// `H`; ALBERT's `embedding_size` is that of a word vector.
    fn embedding_size(&self) -> usize {
        let TransformerConfig { hidden_size, .. } = self.config;
        hidden_size
    }

    /// Also fails on a sentence longer than [`TransformerConfig::max_tokens`].
    fn forward(&self, batch: &TokenBatch, mode: Mode) -> CandleResult<Tensor> {
        let (parts, pass) = (self.parts(mode), self.pass(batch, mode)?);
        let (pooling, layers) = (self.options.pooling, self.config.num_hidden_layers);
        let first_only = pooling.reduction() == Reduction::First && !pass.segments.any_empty();
        let states =
            parts.network.run(&self.config, &pass, |layer| pooling.uses(layer, layers), first_only)?;
        if first_only {
            return parts.head.apply(&states, mode.has_training_head());
        }
        let reduced: CandleResult<Vec<Tensor>> =
            states.iter().map(|states| parts.head.reduce(states, &pass)).collect();
        parts.head.apply(&reduced?, mode.has_training_head())
    }

    fn parameters(&self) -> &ParameterSet {
        &self.parameters
    }

    fn copy(&self) -> CandleResult<Box<dyn SentenceEncoder>> {
        let copy = Self::assemble(self.config.clone(), &self.options, &mut |name, _, _| match self
            .parameters
            .get(name)
        {
            Some(parameter) => parameter.as_detached_tensor().copy(),
            None => candle_core::bail!("no parameter {name}"),
        });
        Ok(Box::new(copy.map_err(candle_core::Error::wrap)?))
    }
}

impl TokenEncoder for Transformer {
    fn masked_lm_logits(&self, tokens: &TokenBatch, positions: &[u32], mode: Mode) -> CandleResult<Tensor> {
        let parts = self.parts(mode);
        let Some(head) = &parts.masked_lm else {
            candle_core::bail!("this encoder has no head of masked language modelling; fix: ask for one")
        };
        let (pass, layers) = (self.pass(tokens, mode)?, self.config.num_hidden_layers);
        let states = parts.network.run(&self.config, &pass, |layer| layer == layers, false)?;
        let [states] = &states[..] else { candle_core::bail!("a transformer has a last layer") };
        head.logits(states, positions, &parts.network.words, pass.precision)
    }
}
