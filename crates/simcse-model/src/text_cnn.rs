//! TextCNN (Kim 2014, "Convolutional Neural Networks for Sentence Classification"), as an encoder.
//!
//! embedding → dropout → for each width: convolution + ReLU + max over time → concatenation → dropout →
//! optional projection. Deviations from the paper: characters or words of one's own text in place of
//! word2vec words; dropout on the embedding as well; no max-norm constraint; the concatenated maxima are
//! the embedding, there is no classifier.

use candle_core::{Result as CandleResult, Tensor};
use serde::{Deserialize, Serialize};
use simcse_data::TokenBatch;
use simcse_ops::{Segments, conv_max::conv_relu_max, dropout::dropout, embedding::embedding};
use simcse_random::Stream;

use crate::initial::{normal, uniform};
use crate::{Mode, ModelError, ParameterSet, Result, SentenceEncoder};

/// The shape of a TextCNN and its dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextCnnConfig {
    /// Size `E` of a token vector.
    pub embedding_size: usize,
    /// Width of each group of filters, in tokens. Kim: 3, 4, 5.
    pub widths: Vec<usize>,
    /// Filters (feature maps) of each width. Kim: 100.
    pub maps: usize,
    /// Rate of dropout on the token vectors.
    pub embedding_dropout: f64,
    /// Rate of dropout on the concatenated maxima. Kim: 0.5.
    pub output_dropout: f64,
    /// Size of a linear projection of the maxima; `None`: the maxima are the embedding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_size: Option<usize>,
}

impl TextCnnConfig {
    /// Fails on a size of 0, a width twice, or a rate outside [0, 1); the message names the key.
    pub fn validate(&self) -> Result<()> {
        let bad = |key, value: &dyn std::fmt::Debug, problem: &str| {
            Err(ModelError::Config { key, value: format!("{value:?}"), problem: problem.to_owned() })
        };
        if self.embedding_size == 0 {
            return bad("embedding_size", &self.embedding_size, "must be 1 or more");
        }
        if self.maps == 0 {
            return bad("maps", &self.maps, "must be 1 or more");
        }
        let mut widths = self.widths.clone();
        widths.sort_unstable();
        widths.dedup();
        if widths.first().is_none_or(|width| *width == 0) || widths.len() != self.widths.len() {
            return bad("widths", &self.widths, "needs one or more different widths, each 1 or more");
        }
        if self.projection_size == Some(0) {
            return bad("projection_size", &0, "must be 1 or more; leave the key out for no projection");
        }
        for (key, rate) in
            [("embedding_dropout", self.embedding_dropout), ("output_dropout", self.output_dropout)]
        {
            if !(0.0..1.0).contains(&rate) {
                return bad(key, &rate, "a dropout rate lies in [0, 1)");
            }
        }
        Ok(())
    }

    fn feature_size(&self) -> usize {
        self.widths.len() * self.maps
    }
}

/// A TextCNN with its parameters.
#[derive(Debug)]
pub struct TextCnn {
    config: TextCnnConfig,
    parameters: ParameterSet,
    /// `[V, E]`.
    table: Tensor,
    /// Weight `[w, M, E]` and bias `[M]` of each width.
    filters: Vec<(Tensor, Tensor)>,
    /// `[P, D]`, no bias: cosine is what is measured, and a common shift only narrows it.
    projection: Option<Tensor>,
}

impl TextCnn {
    /// A network with fresh parameters for a vocabulary of `vocabulary_size` tokens.
    ///
    /// Initial values follow PyTorch's defaults: token vectors N(0, 1), filters and projection uniform in
    /// ±1/√fan_in. Row 0 (padding) is never looked up in a ragged batch.
    pub fn new(config: TextCnnConfig, vocabulary_size: usize, stream: Stream) -> Result<Self> {
        config.validate()?;
        let table = normal((vocabulary_size, config.embedding_size), stream.named("embedding"))?;
        let mut tensors = vec![("embedding.weight".to_owned(), table)];
        for (index, &width) in config.widths.iter().enumerate() {
            let bound = 1.0 / ((width * config.embedding_size) as f32).sqrt();
            let stream = stream.named("convolutions").fold(width as u64);
            let weight = uniform((width, config.maps, config.embedding_size), bound, stream.named("weight"))?;
            tensors.push((format!("convolutions.{index}.weight"), weight));
            tensors.push((
                format!("convolutions.{index}.bias"),
                uniform(config.maps, bound, stream.named("bias"))?,
            ));
        }
        if let Some(size) = config.projection_size {
            let bound = 1.0 / (config.feature_size() as f32).sqrt();
            let weight = uniform((size, config.feature_size()), bound, stream.named("projection"))?;
            tensors.push(("projection.weight".to_owned(), weight));
        }
        Self::from_tensors(config, |name| {
            let found = tensors.iter().find(|(other, _)| other == name);
            found
                .map(|(_, tensor)| tensor.clone())
                .ok_or_else(|| candle_core::Error::Msg(format!("no {name}")))
        })
    }

    /// A network with the parameters that `tensor` gives by name.
    ///
    /// Names and shapes: `embedding.weight` `[V, E]`; `convolutions.{i}.weight` `[w, M, E]` and
    /// `convolutions.{i}.bias` `[M]` in the order of `widths`; `projection.weight` `[P, D]`.
    pub fn from_tensors(
        config: TextCnnConfig,
        tensor: impl Fn(&str) -> CandleResult<Tensor>,
    ) -> Result<Self> {
        config.validate()?;
        let mut parameters = ParameterSet::default();
        let mut add = |name: String, shape: &[usize]| -> Result<Tensor> {
            let value = tensor(&name)?;
            let (found, fits) = (value.dims(), value.dims().len() == shape.len());
            if !fits || found.iter().zip(shape).any(|(found, want)| *want != 0 && found != want) {
                let problem = format!("{name} has shape {found:?}, wanted {shape:?} (0: any)");
                return Err(candle_core::Error::Msg(problem).into());
            }
            Ok(parameters.add(name, &value)?)
        };
        let table = add("embedding.weight".into(), &[0, config.embedding_size])?;
        let mut filters = Vec::with_capacity(config.widths.len());
        for (index, &width) in config.widths.iter().enumerate() {
            let weight =
                add(format!("convolutions.{index}.weight"), &[width, config.maps, config.embedding_size])?;
            filters.push((weight, add(format!("convolutions.{index}.bias"), &[config.maps])?));
        }
        let projection = match config.projection_size {
            Some(size) => Some(add("projection.weight".into(), &[size, config.feature_size()])?),
            None => None,
        };
        Ok(Self { config, parameters, table, filters, projection })
    }

    /// The configuration.
    pub fn config(&self) -> &TextCnnConfig {
        &self.config
    }

    /// Number of rows `V` of the embedding.
    pub fn vocabulary_size(&self) -> usize {
        self.table.dims()[0]
    }

    /// Sets the token vectors, `[V, E]`; rows may come from [`crate::vectors::TokenVectors`].
    pub fn set_embedding(&self, table: &Tensor) -> Result<()> {
        let var = self.parameters.get("embedding.weight").ok_or_else(|| ModelError::Config {
            key: "embedding.weight",
            value: "missing".into(),
            problem: "the network has no embedding".into(),
        })?;
        Ok(var.set(table)?)
    }
}

impl SentenceEncoder for TextCnn {
    fn embedding_size(&self) -> usize {
        self.config.projection_size.unwrap_or_else(|| self.config.feature_size())
    }

    fn forward(&self, batch: &TokenBatch, mode: Mode) -> CandleResult<Tensor> {
        let segments = Segments::new(batch.offsets())?;
        let masks = mode.masks("embedding", self.config.embedding_dropout, batch)?;
        let tokens = embedding(&self.table, batch.ids(), &segments, masks.as_ref())?; // [T, E]
        let filters: Vec<_> = self.filters.iter().map(|(weight, bias)| (weight, bias)).collect();
        let mut features = conv_relu_max(&tokens, &filters, &segments)?; // [S, W · M]
        if let Some(masks) = mode.masks("output", self.config.output_dropout, batch)? {
            features = dropout(&features, &masks)?;
        }
        match &self.projection {
            Some(projection) => features.matmul(&projection.t()?), // [S, P]
            None => Ok(features),
        }
    }

    fn parameters(&self) -> &ParameterSet {
        &self.parameters
    }

    fn copy(&self) -> CandleResult<Box<dyn SentenceEncoder>> {
        let copy = Self::from_tensors(self.config.clone(), |name| match self.parameters.get(name) {
            Some(parameter) => parameter.as_detached_tensor().copy(),
            None => candle_core::bail!("no parameter {name}"),
        });
        Ok(Box::new(copy.map_err(candle_core::Error::wrap)?))
    }
}
