//! A transformer encoder in the words of sentence-transformers: `modules.json` and what it names.

use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use simcse_data::{PretrainedTokenizer, SentenceTokenizer as _, write_whole};

use super::files::{make_folder, write_json, write_tensors};
use super::{SavedEncoder, Tokenizer, WEIGHTS};
use crate::{ModelError, Pooling, Result, SentenceEncoder as _, Transformer};

pub(super) const MODULES: &str = "modules.json";
pub(super) const LENGTHS: &str = "sentence_bert_config.json";
/// Not a class of sentence-transformers: its code lies in the directory.
const SMOOTH_MAXIMUM: &str = "SmoothMaximum";
pub(super) const PROMPTS: &str = "config_sentence_transformers.json";

/// A step of the pipeline: its class, its `config.json`, its weights.
struct Module {
    class: &'static str,
    config: Value,
    tensors: Vec<(String, Tensor)>,
}

/// `config.json`. A pooling over layers has to see them all.
pub(super) fn network_config(encoder: &Transformer) -> Value {
    let mut config = encoder.config().to_json();
    if matches!(encoder.options().pooling, Pooling::FirstLastMean | Pooling::LayerMix) {
        config["output_hidden_states"] = true.into();
    }
    config
}

/// Writes everything beside `config.json`, `model.safetensors` and `tokenizer.json`; `modules.json` last.
pub(super) fn save(saved: &SavedEncoder, encoder: &Transformer, folder: &Path) -> Result<()> {
    if let Tokenizer::Pretrained(tokenizer) = &saved.tokenizer {
        write_json(&folder.join("tokenizer_config.json"), &tokenizer_config(tokenizer, saved.max_tokens))?;
    }
    write_json(
        &folder.join(LENGTHS),
        &json!({ "max_seq_length": saved.max_tokens, "do_lower_case": false }),
    )?;
    write_json(&folder.join(PROMPTS), &prompts(&saved.prefix))?;
    if encoder.options().pooling == Pooling::SmoothMaximum {
        write_whole(&folder.join("smooth_maximum.py"), include_bytes!("smooth_maximum.py"))?;
    }
    let mut list = vec![entry(0, "", "Transformer")];
    for (index, module) in modules(saved, encoder)?.into_iter().enumerate() {
        let name = format!("{}_{}", index + 1, module.class);
        make_folder(&folder.join(&name))?;
        write_json(&folder.join(&name).join("config.json"), &module.config)?;
        if !module.tensors.is_empty() {
            write_tensors(&folder.join(&name).join(WEIGHTS), &module.tensors)?;
        }
        list.push(entry(index + 1, &name, module.class));
    }
    write_json(&folder.join(MODULES), &list)
}

fn entry(index: usize, path: &str, class: &str) -> Value {
    let kind = match class {
        SMOOTH_MAXIMUM => "smooth_maximum.SmoothMaximum".to_owned(),
        _ => format!("sentence_transformers.models.{class}"),
    };
    json!({ "idx": index, "name": index.to_string(), "path": path, "type": kind })
}

fn prompts(prefix: &str) -> Value {
    if prefix.is_empty() {
        return json!({ "prompts": {}, "default_prompt_name": null });
    }
    json!({ "prompts": { "default": prefix }, "default_prompt_name": "default" })
}

/// Names the special tokens: sentence-transformers would guess them from the class of the model.
fn tokenizer_config(tokenizer: &PretrainedTokenizer, max_tokens: usize) -> Value {
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_tokens,
        "clean_up_tokenization_spaces": false,
    });
    let frame = tokenizer.encode("", max_tokens.max(2)).ids;
    let ends = |index: usize| frame.get(index).copied().filter(|id| tokenizer.special_ids().contains(id));
    for (key, id) in [
        ("pad_token", Some(tokenizer.pad_id())),
        ("unk_token", Some(tokenizer.unknown_id())),
        ("mask_token", tokenizer.mask_id()),
        ("cls_token", ends(0)),
        ("sep_token", frame.len().checked_sub(1).and_then(ends)),
    ] {
        if let Some(token) = id.and_then(|id| tokenizer.token(id)) {
            config[key] = token.into();
        }
    }
    config
}

/// The steps after the transformer.
fn modules(saved: &SavedEncoder, encoder: &Transformer) -> Result<Vec<Module>> {
    let (pooling, size) = (encoder.options().pooling, encoder.embedding_size());
    let mut modules = Vec::new();
    if let Some(shares) = layer_shares(encoder)? {
        modules.push(Module {
            class: "WeightedLayerPooling",
            config: json!({
                "word_embedding_dimension": size,
                "layer_start": 0,
                "num_hidden_layers": encoder.config().num_hidden_layers,
            }),
            tensors: vec![("layer_weights".to_owned(), shares)],
        });
    }
    if pooling == Pooling::WeightedMean {
        modules.push(word_weights(saved, encoder)?);
    }
    modules.push(if pooling == Pooling::SmoothMaximum {
        smooth_maximum(encoder)?
    } else {
        Module { class: "Pooling", config: pooling_config(pooling, size), tensors: Vec::new() }
    });
    if pooling == Pooling::ClsTanh {
        let weight = parameter(encoder, "head.dense.weight")?;
        modules.push(dense(
            weight,
            parameter(encoder, "head.dense.bias")?,
            "torch.nn.modules.activation.Tanh",
        )?);
    }
    if let Some(whitening) = &saved.whitening {
        let (weight, bias) = whitening.to_linear()?;
        modules.push(dense(weight, bias, "torch.nn.modules.linear.Identity")?);
    }
    Ok(modules)
}

/// The weight of each token by its text. The vocabulary is listed by id: the module counts on that order.
fn word_weights(saved: &SavedEncoder, encoder: &Transformer) -> Result<Module> {
    let logarithms = parameter(encoder, "head.token_weights")?.to_vec1::<f32>()?;
    let token = |id: usize| match &saved.tokenizer {
        Tokenizer::Pretrained(tokenizer) => tokenizer.token(id as u32),
        Tokenizer::Vocabulary(_) => None,
    };
    // A row of the table without a token has a name that no text gives.
    let names: Vec<String> =
        (0..logarithms.len()).map(|id| token(id).unwrap_or_else(|| format!("[no token {id}]"))).collect();
    let weights: serde_json::Map<String, Value> =
        names.iter().zip(&logarithms).map(|(name, weight)| (name.clone(), weight.exp().into())).collect();
    let config = json!({ "vocab": names, "word_weights": weights, "unknown_word_weight": 1.0 });
    Ok(Module { class: "WordWeights", config, tensors: Vec::new() })
}

/// What `smooth_maximum.py` loads.
fn smooth_maximum(encoder: &Transformer) -> Result<Module> {
    let tensor =
        |name: &str| Ok::<_, ModelError>((name.to_owned(), parameter(encoder, &format!("head.{name}"))?));
    Ok(Module {
        class: SMOOTH_MAXIMUM,
        config: json!({ "word_embedding_dimension": encoder.embedding_size() }),
        tensors: vec![tensor("token_weights")?, tensor("sharpness")?],
    })
}

fn pooling_config(pooling: Pooling, size: usize) -> Value {
    let (is_cls, is_max) = match pooling {
        Pooling::Cls | Pooling::ClsTanhInTraining | Pooling::ClsTanh => (true, false),
        Pooling::Max => (false, true),
        Pooling::Mean
        | Pooling::FirstLastMean
        | Pooling::LayerMix
        | Pooling::WeightedMean
        | Pooling::SmoothMaximum => (false, false),
    };
    json!({
        "word_embedding_dimension": size,
        "pooling_mode_cls_token": is_cls,
        "pooling_mode_max_tokens": is_max,
        "pooling_mode_mean_tokens": !is_cls && !is_max,
        "pooling_mode_mean_sqrt_len_tokens": false,
    })
}

fn dense(weight: Tensor, bias: Tensor, activation: &str) -> Result<Module> {
    let (outputs, inputs) = weight.dims2()?;
    let config = json!({
        "in_features": inputs,
        "out_features": outputs,
        "bias": true,
        "activation_function": activation,
    });
    let tensors = vec![("linear.weight".to_owned(), weight), ("linear.bias".to_owned(), bias)];
    Ok(Module { class: "Dense", config, tensors })
}

/// The share of each layer's output `[L + 1]` where the pooling mixes layers.
fn layer_shares(encoder: &Transformer) -> Result<Option<Tensor>> {
    let layers = encoder.config().num_hidden_layers;
    match encoder.options().pooling {
        Pooling::FirstLastMean => {
            let mut shares = vec![0.0_f32; layers + 1];
            shares[1] += 0.5;
            shares[layers] += 0.5;
            Ok(Some(Tensor::from_vec(shares, layers + 1, &Device::Cpu)?))
        }
        Pooling::LayerMix => {
            let weights = parameter(encoder, "head.layer_weights")?;
            let powers = weights.broadcast_sub(&weights.max(0)?)?.exp()?;
            Ok(Some(powers.broadcast_div(&powers.sum(0)?)?))
        }
        _ => Ok(None),
    }
}

fn parameter(encoder: &Transformer, name: &str) -> Result<Tensor> {
    let parameter = encoder.parameters().get(name).ok_or_else(|| ModelError::Config {
        key: "pooling",
        value: format!("{:?}", encoder.options().pooling),
        problem: format!("the encoder has no {name}"),
    })?;
    Ok(parameter.as_detached_tensor())
}
