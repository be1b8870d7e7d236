//! A published model's folder as a [`Transformer`].

use std::path::Path;

use candle_core::{Device, Tensor};
use simcse_random::Stream;

use super::config::TransformerConfig;
use super::names::{MaskedLmNames, is_harmless};
use super::network::Initial;
use super::weights::Weights;
use super::{Transformer, TransformerOptions, draw};
use crate::{ModelError, Result};

/// Names of unexpected weights that an error lists.
const LISTED: usize = 10;

impl Transformer {
    /// Loads `config.json` and the weights of a folder as `transformers` saves it: `model.safetensors` or
    /// `pytorch_model.bin`, whole or in shards with an index; float16, bfloat16 or float32; names with or
    /// without the prefix of a model class.
    ///
    /// What the pooling has to learn begins fresh, drawn from `stream`, and so does the head of masked
    /// language modelling where the file has none. Heads of other tasks and layers beyond `options.layers`
    /// are left. Fails, naming the file, with one list of all weights that are missing, unexpected or of
    /// another shape.
    pub fn load(folder: &Path, options: &TransformerOptions, stream: Stream) -> Result<Self> {
        let path = folder.join("config.json");
        let mut config = TransformerConfig::load(&path)?;
        let total = config.num_hidden_layers;
        if let Some(layers) = options.layers {
            if layers == 0 || layers > total {
                let problem = format!("has {total} layers, {layers} are asked for; fix: give 1 to {total}");
                return Err(ModelError::file(&path, problem));
            }
            config.num_hidden_layers = layers;
        }
        let mut weights = Weights::read(folder, &wanted(&config, options)?)?;
        rename_decoder_bias(&config, &mut weights);
        let mut loading = Loading::new(weights, &config, stream);
        let cut = config.num_hidden_layers..total;
        let transformer = Self::assemble(config.clone(), options, &mut |name, shape, initial| {
            loading.parameter(name, shape, initial)
        })?;
        match loading.problems(|name| is_harmless(name, cut.clone())) {
            None => Ok(transformer),
            Some(problems) => Err(ModelError::file(folder, problems)),
        }
    }
}

/// Which names are read: all parameters of the encoder.
fn wanted(config: &TransformerConfig, options: &TransformerOptions) -> Result<impl Fn(&str) -> bool + use<>> {
    let mut names = std::collections::BTreeSet::new();
    // Built on tensors without values, only to hear the names.
    super::build_parts(config, options, &mut |name, _, _| {
        names.insert(name.to_owned());
        Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu)
    })?;
    if options.masked_lm {
        names.insert(MaskedLmNames::of(config.architecture).decoder_bias.to_owned());
    }
    Ok(move |name: &str| names.contains(name))
}

/// The bias of the tied decoder may stand under either of two names, or under both.
fn rename_decoder_bias(config: &TransformerConfig, weights: &mut Weights) {
    let names = MaskedLmNames::of(config.architecture);
    if let Some(bias) = weights.tensors.remove(names.decoder_bias) {
        weights.tensors.entry(names.bias.to_owned()).or_insert(bias);
    }
}

/// Gives parameters from a file and collects what does not fit.
struct Loading {
    /// What is left of them: a parameter is taken out, so that the model is never held twice.
    weights: Weights,
    /// Whether the file holds a head of masked language modelling, whole or in part.
    has_masked_lm: bool,
    masked_lm: MaskedLmNames,
    stream: Stream,
    missing: Vec<String>,
    misshapen: Vec<String>,
}

impl Loading {
    fn new(weights: Weights, config: &TransformerConfig, stream: Stream) -> Self {
        let masked_lm = MaskedLmNames::of(config.architecture);
        let has_masked_lm = weights.tensors.keys().any(|name| masked_lm.contains(name));
        Self { weights, has_masked_lm, masked_lm, stream, missing: Vec::new(), misshapen: Vec::new() }
    }

    /// A parameter that does not fit is noted and drawn, so that all of them come together in one error.
    fn parameter(&mut self, name: &str, shape: &[usize], initial: Initial) -> candle_core::Result<Tensor> {
        let may_be_fresh =
            name.starts_with("head.") || (!self.has_masked_lm && self.masked_lm.contains(name));
        match self.weights.tensors.remove(name) {
            Some(tensor) if tensor.dims() == shape => return Ok(tensor),
            Some(tensor) => {
                self.misshapen.push(format!("{name} is {:?}, wanted {shape:?}", tensor.dims()));
            }
            None if may_be_fresh => {}
            None => self.missing.push(name.to_owned()),
        }
        draw(name, shape, initial, self.stream)
    }

    fn problems(self, is_harmless: impl Fn(&str) -> bool) -> Option<String> {
        let unexpected: Vec<&str> =
            self.weights.left.iter().map(String::as_str).filter(|name| !is_harmless(name)).collect();
        let mut problems = Vec::new();
        if !self.missing.is_empty() {
            problems.push(format!("missing weights: {}", self.missing.join(", ")));
        }
        if !unexpected.is_empty() {
            let (count, shown) = (unexpected.len(), unexpected.len().min(LISTED));
            let more = if count > shown { ", …" } else { "" };
            problems.push(format!("{count} unexpected weights: {}{more}", unexpected[..shown].join(", ")));
        }
        if !self.misshapen.is_empty() {
            problems.push(format!("wrong shapes: {}", self.misshapen.join(", ")));
        }
        (!problems.is_empty()).then(|| {
            format!(
                "{}; fix: use the config.json and the weights of one BERT, ALBERT or RoBERTa",
                problems.join("; ")
            )
        })
    }
}
