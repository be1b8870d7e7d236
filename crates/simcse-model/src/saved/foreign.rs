//! A directory of sentence-transformers that did not come from us.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use simcse_data::{PretrainedTokenizer, SentenceTokenizer as _};
use simcse_random::Stream;

use super::files::{read_json, read_tensors};
use super::modules::{LENGTHS, MODULES, PROMPTS};
use super::{SavedEncoder, WEIGHTS, check_vocabulary};
use crate::{ModelError, Pooling, Result, SentenceEncoder as _, Transformer, TransformerOptions};

#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(rename = "type")]
    class: String,
}

pub(super) fn load(folder: &Path) -> Result<SavedEncoder> {
    let list = folder.join(MODULES);
    let entries: Vec<Entry> = read_json(&list)?;
    let mut network = None;
    let mut pooling = None;
    let mut dense = None;
    for Entry { path, class } in &entries {
        let place = folder.join(path);
        match class.rsplit('.').next().unwrap_or(class) {
            "Transformer" if network.is_none() => network = Some(place),
            "Pooling" if pooling.is_none() => pooling = Some(read_pooling(&place.join("config.json"))?),
            "Dense" if pooling == Some(Pooling::Cls) && dense.is_none() => {
                check_dense(&place.join("config.json"))?;
                dense = Some(place.join(WEIGHTS));
                pooling = Some(Pooling::ClsTanh);
            }
            "Normalize" => {}
            _ => {
                let problem = format!(
                    "{class} at this place has no counterpart here; fix: use an encoder of a transformer, \
                     cls, mean or max pooling, and at most a tanh layer after cls"
                );
                return Err(ModelError::file(&list, problem));
            }
        }
    }
    let (Some(network), Some(pooling)) = (network, pooling) else {
        let problem = "names no transformer and pooling; fix: use an encoder that has both";
        return Err(ModelError::file(&list, problem));
    };
    let encoder =
        Transformer::load(&network, &TransformerOptions::evaluation(pooling), Stream::from_seed(0))?;
    if let Some(path) = dense {
        set_dense(&path, &encoder)?;
    }
    assemble(folder, &network, encoder)
}

/// Tokenizer, prefix and length.
fn assemble(folder: &Path, network: &Path, encoder: Transformer) -> Result<SavedEncoder> {
    let tokenizer = PretrainedTokenizer::from_folder(network)?;
    check_vocabulary(network, encoder.config().vocab_size, tokenizer.vocabulary_size())?;
    let optional = |path: &Path| if path.is_file() { read_json::<Value>(path) } else { Ok(Value::Null) };
    let room = encoder.config().max_tokens();
    let wanted = optional(&network.join(LENGTHS))?["max_seq_length"].as_u64();
    let max_tokens = wanted.map_or(room, |wanted| room.min(wanted as usize));
    let prompts = optional(&folder.join(PROMPTS))?;
    let name = prompts["default_prompt_name"].as_str();
    let prefix = name.and_then(|name| prompts["prompts"][name].as_str()).unwrap_or_default().to_owned();
    Ok(SavedEncoder { prefix, ..SavedEncoder::new(encoder, tokenizer, max_tokens) })
}

/// The one pooling of a `Pooling` module, in the old words (a key for each mode) or the new one.
fn read_pooling(path: &Path) -> Result<Pooling> {
    let config: Value = read_json(path)?;
    let mut modes: Vec<String> = match &config["pooling_mode"] {
        Value::String(mode) => vec![mode.clone()],
        Value::Array(modes) => modes.iter().filter_map(|mode| mode.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in config.as_object().into_iter().flatten() {
        if let (Some(mode), Some(true)) = (key.strip_prefix("pooling_mode_"), value.as_bool()) {
            modes.push(mode.trim_end_matches("_tokens").trim_end_matches("_token").to_owned());
        }
    }
    if config["include_prompt"] == Value::Bool(false) {
        let problem = "`include_prompt` = false: here every token counts; fix: use another encoder";
        return Err(ModelError::file(path, problem));
    }
    match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cls"] => Ok(Pooling::Cls),
        ["mean"] => Ok(Pooling::Mean),
        ["max"] => Ok(Pooling::Max),
        _ => {
            let problem = format!("pooling {modes:?}; fix: use an encoder with one of cls, mean, max");
            Err(ModelError::file(path, problem))
        }
    }
}

fn check_dense(path: &Path) -> Result<()> {
    let config: Value = read_json(path)?;
    let activation = config["activation_function"].as_str().unwrap_or("torch.nn.modules.activation.Tanh");
    let is_plain = config["use_residual"] != Value::Bool(true) && config["bias"] != Value::Bool(false);
    if activation.ends_with(".Tanh") && is_plain && config["in_features"] == config["out_features"] {
        return Ok(());
    }
    let problem = "is no square tanh layer with a bias; fix: use an encoder without it";
    Err(ModelError::file(path, problem))
}

fn set_dense(path: &Path, encoder: &Transformer) -> Result<()> {
    let tensors = read_tensors(path)?;
    for (ours, theirs) in [("head.dense.weight", "linear.weight"), ("head.dense.bias", "linear.bias")] {
        let (value, variable) = (tensors.get(theirs), encoder.parameters().get(ours));
        let fits = |value: &&Tensor| variable.is_some_and(|variable| variable.dims() == value.dims());
        let (Some(value), Some(variable)) = (value.filter(fits), variable) else {
            let problem = format!("lacks {theirs} of the encoder's size; fix: copy the folder again, whole");
            return Err(ModelError::file(path, problem));
        };
        variable.set(&value.to_dtype(DType::F32)?.to_device(&Device::Cpu)?)?;
    }
    Ok(())
}
