//! Files of published models in all their forms, written by hand here: what loads, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use simcse_data::TokenBatch;
use simcse_model::{
    Mode, Pooling, SentenceEncoder as _, TokenEncoder as _, Transformer, TransformerConfig,
    TransformerOptions,
};
use simcse_random::Stream;
use support::values;

fn json_config() -> Value {
    json!({
        "model_type": "bert", "vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 10, "hidden_act": "gelu",
        "max_position_embeddings": 9, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    })
}

fn albert_config() -> Value {
    let mut config = json_config();
    config["model_type"] = "albert".into();
    config["embedding_size"] = 6.into();
    config
}

fn read_config(json: &Value) -> Result<TransformerConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, json.to_string()).unwrap();
    TransformerConfig::load(&path).map_err(|error| error.to_string())
}

fn options() -> TransformerOptions {
    TransformerOptions::evaluation(Pooling::Mean)
}

fn fresh(json: &Value, options: &TransformerOptions) -> Transformer {
    Transformer::new(read_config(json).unwrap(), options, Stream::from_seed(7)).unwrap()
}

/// Values that float16 and bfloat16 hold exactly, so that every form gives equal tensors.
fn weights(encoder: &Transformer) -> Vec<(String, Tensor)> {
    let round = |tensor: Tensor| {
        tensor.to_dtype(DType::BF16)?.to_dtype(DType::F16)?.to_dtype(DType::BF16)?.to_dtype(DType::F32)
    };
    let parameters = encoder.parameters().iter();
    parameters
        .map(|(name, variable)| (name.to_owned(), round(variable.as_detached_tensor()).unwrap()))
        .collect()
}

fn write(folder: &Path, json: &Value, file: &str, weights: &[(String, Tensor)]) {
    std::fs::write(folder.join("config.json"), json.to_string()).unwrap();
    let tensors: HashMap<String, Tensor> = weights.iter().cloned().collect();
    candle_core::safetensors::save(&tensors, folder.join(file)).unwrap();
}

fn load(folder: &Path, options: &TransformerOptions) -> Result<Transformer, String> {
    Transformer::load(folder, options, Stream::from_seed(0)).map_err(|error| error.to_string())
}

fn assert_holds(encoder: &Transformer, weights: &[(String, Tensor)], what: &str) {
    assert_eq!(encoder.parameters().iter().len(), weights.len(), "{what}");
    for (name, want) in weights {
        let got = encoder.parameters().get(name).unwrap_or_else(|| panic!("{what}: no {name}"));
        assert_eq!(values(got), values(want), "{what}: {name}");
    }
}

fn mapped(
    weights: &[(String, Tensor)],
    map: impl Fn(&str, &Tensor) -> (String, Tensor),
) -> Vec<(String, Tensor)> {
    weights.iter().map(|(name, tensor)| map(name, tensor)).collect()
}

#[test]
fn every_form_gives_equal_tensors() {
    let old = |name: &str| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        format!("bert.{}", name.replace("LayerNorm.bias", "LayerNorm.beta"))
    };
    for (json, prefix) in [(json_config(), "bert"), (albert_config(), "albert"), (json_config(), "roberta")] {
        let weights = weights(&fresh(&json, &options()));
        let forms = [
            ("as it is", mapped(&weights, |name, tensor| (name.to_owned(), tensor.clone()))),
            ("prefixed", mapped(&weights, |name, tensor| (format!("{prefix}.{name}"), tensor.clone()))),
            ("old names", mapped(&weights, |name, tensor| (old(name), tensor.clone()))),
            ("f16", mapped(&weights, |name, tensor| (name.to_owned(), tensor.to_dtype(DType::F16).unwrap()))),
            (
                "bf16",
                mapped(&weights, |name, tensor| (name.to_owned(), tensor.to_dtype(DType::BF16).unwrap())),
            ),
        ];
        for (what, form) in forms {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &json, "model.safetensors", &form);
            assert_holds(&load(folder.path(), &options()).unwrap(), &weights, &format!("{prefix} {what}"));
        }
    }
}

#[test]
fn shards_are_put_together_and_a_lost_one_is_named() {
    let weights = weights(&fresh(&json_config(), &options()));
    let folder = tempfile::tempdir().unwrap();
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let (first, second) = weights.split_at(weights.len() / 2);
    write(folder.path(), &json_config(), names[0], first);
    write(folder.path(), &json_config(), names[1], second);
    let map: serde_json::Map<String, Value> = (weights.iter().enumerate())
        .map(|(index, (name, _))| (name.clone(), names[usize::from(index >= first.len())].into()))
        .collect();
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    assert_holds(&load(folder.path(), &options()).unwrap(), &weights, "shards");
    assert_eq!(simcse_data::weight_files(folder.path()).unwrap().len(), 3);
    std::fs::remove_file(folder.path().join(names[1])).unwrap();
    let error = load(folder.path(), &options()).unwrap_err();
    assert!(error.contains(names[1]) && error.contains("fix:"), "{error}");
    let index = json!({"weight_map": {"x": "../model.safetensors"}}).to_string();
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    assert!(load(folder.path(), &options()).unwrap_err().contains("../model.safetensors"));
}

/// Files that PyTorch wrote, whole and in shards: `golden/make_pytorch_model.py`.
#[test]
fn pickles_of_pytorch_give_equal_tensors() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pytorch_model");
    let want: Value = serde_json::from_str(include_str!("golden/pytorch_model/expected.json")).unwrap();
    let tensor = |value: &Value| {
        let shape: Vec<usize> = serde_json::from_value(value["shape"].clone()).unwrap();
        let values: Vec<f32> = serde_json::from_value(value["values"].clone()).unwrap();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let weights: Vec<(String, Tensor)> =
        want.as_object().unwrap().iter().map(|(name, value)| (name.clone(), tensor(value))).collect();
    for name in ["whole", "sharded"] {
        let encoder = load(&golden.join(name), &options()).unwrap();
        assert_holds(&encoder, &weights, name);
    }
}

#[test]
fn what_does_not_fit_comes_as_one_list() {
    let weights = weights(&fresh(&json_config(), &options()));
    let folder = tempfile::tempdir().unwrap();
    let mut broken: Vec<(String, Tensor)> = weights
        .iter()
        .filter(|(name, _)| !name.ends_with("query.weight"))
        .map(|(name, tensor)| match name.as_str() {
            "encoder.layer.1.output.dense.bias" => (name.clone(), tensor.narrow(0, 0, 3).unwrap()),
            _ => (name.clone(), tensor.clone()),
        })
        .collect();
    for number in 0..12 {
        broken.push((format!("encoder.adapter.{number:02}.weight"), weights[0].1.clone()));
    }
    write(folder.path(), &json_config(), "model.safetensors", &broken);
    let error = load(folder.path(), &options()).unwrap_err();
    for part in [
        "missing weights: encoder.layer.0.attention.self.query.weight, encoder.layer.1.attention.self.query.weight;",
        "12 unexpected weights: encoder.adapter.00.weight, ",
        "encoder.adapter.09.weight, …;",
        "wrong shapes: encoder.layer.1.output.dense.bias is [3], wanted [8]",
        "fix:",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    assert!(!error.contains("adapter.10"), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn a_weight_given_twice_or_in_whole_numbers_is_refused() {
    let weights = weights(&fresh(&json_config(), &options()));
    let folder = tempfile::tempdir().unwrap();
    let (name, tensor) = &weights[0];
    let twice = [weights.clone(), vec![(format!("bert.{name}"), tensor.clone())]].concat();
    write(folder.path(), &json_config(), "model.safetensors", &twice);
    let error = load(folder.path(), &options()).unwrap_err();
    assert!(error.contains(name) && error.contains("twice"), "{error}");
    let whole = mapped(&weights, |other, tensor| match other == name {
        true => (other.to_owned(), tensor.to_dtype(DType::I64).unwrap()),
        false => (other.to_owned(), tensor.clone()),
    });
    write(folder.path(), &json_config(), "model.safetensors", &whole);
    let error = load(folder.path(), &options()).unwrap_err();
    assert!(error.contains(name) && error.contains("fix:"), "{error}");
}

#[test]
fn heads_of_other_tasks_and_layers_cut_off_are_no_error() {
    let mut weights = weights(&fresh(&json_config(), &options()));
    let one = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    let ids = Tensor::arange(0_i64, 9, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "pooler.dense.weight",
        "cls.seq_relationship.weight",
        "classifier.bias",
        "lm_head.bias",
        "mlp.dense.bias",
    ] {
        weights.push((name.to_owned(), one.clone()));
    }
    weights.push(("bert.embeddings.position_ids".to_owned(), ids));
    write(folder.path(), &json_config(), "model.safetensors", &weights);
    let whole = load(folder.path(), &options()).unwrap();
    let cut = load(folder.path(), &TransformerOptions { layers: Some(1), ..options() }).unwrap();
    assert_eq!(cut.config().num_hidden_layers, 1);
    let batch = TokenBatch::from_sequences(&[vec![1, 2, 3], vec![4]]).unwrap();
    let states = |encoder: &Transformer| encoder.token_states(&batch, Mode::Evaluate).unwrap();
    assert_eq!(values(&states(&whole)[1]), values(&states(&cut)[1]));
    assert_eq!((states(&whole).len(), states(&cut).len()), (3, 2));
    for layers in [0, 3] {
        let error =
            load(folder.path(), &TransformerOptions { layers: Some(layers), ..options() }).unwrap_err();
        assert!(error.contains("has 2 layers") && error.contains("fix:"), "{error}");
    }
    // A third layer that config.json does not know is not one cut off.
    weights.push(("encoder.layer.2.output.dense.bias".to_owned(), one));
    write(folder.path(), &json_config(), "model.safetensors", &weights);
    assert!(load(folder.path(), &options()).unwrap_err().contains("1 unexpected weights: encoder.layer.2"));
}

#[test]
fn a_head_of_masked_language_modelling_is_loaded_where_it_is_whole() {
    let with_head = TransformerOptions { masked_lm: true, ..options() };
    for json in [json_config(), albert_config()] {
        let weights = weights(&fresh(&json, &with_head));
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &json, "model.safetensors", &weights);
        assert_holds(&load(folder.path(), &with_head).unwrap(), &weights, "head");
        let is_head = |name: &str| name.contains("predictions");
        let encoder = load(folder.path(), &options()).unwrap();
        assert!(encoder.parameters().iter().all(|(name, _)| !is_head(name)), "nobody asked for a head");
        let batch = TokenBatch::from_sequences(&[vec![1, 2]]).unwrap();
        let error = encoder.masked_lm_logits(&batch, &[1], Mode::Evaluate).unwrap_err().to_string();
        assert!(error.contains("fix:"), "{error}");
        // Newer files may keep the bias under the decoder's name.
        let renamed = mapped(&weights, |name, tensor| {
            (name.replace("predictions.bias", "predictions.decoder.bias"), tensor.clone())
        });
        write(folder.path(), &json, "model.safetensors", &renamed);
        assert_holds(&load(folder.path(), &with_head).unwrap(), &weights, "renamed bias");
        let partial: Vec<_> =
            weights.iter().filter(|(name, _)| !name.ends_with("predictions.bias")).cloned().collect();
        write(folder.path(), &json, "model.safetensors", &partial);
        let error = load(folder.path(), &with_head).unwrap_err();
        assert!(error.contains("missing weights: ") && error.contains("predictions.bias"), "{error}");
        let headless: Vec<_> = weights.iter().filter(|(name, _)| !is_head(name)).cloned().collect();
        write(folder.path(), &json, "model.safetensors", &headless);
        assert_eq!(load(folder.path(), &with_head).unwrap().parameters().iter().len(), weights.len());
    }
}

#[test]
fn a_configuration_that_makes_no_network_names_file_and_key() {
    let changed = |key: &str, value: Value| {
        let mut json = if key.contains("group") { albert_config() } else { json_config() };
        json[key] = value;
        read_config(&json).unwrap_err()
    };
    for (key, value) in [
        ("model_type", json!("gpt2")),
        ("model_type", json!("albert")), // Without `embedding_size`.
        ("hidden_size", json!(9)),
        ("hidden_size", json!("8")),
        ("vocab_size", Value::Null),
        ("num_attention_heads", json!(0)),
        ("hidden_act", json!("swish")),
        ("layer_norm_eps", json!(0.0)),
        ("position_embedding_type", json!("relative_key")),
        ("num_hidden_groups", json!(2)),
        ("inner_group_num", json!(2)),
        ("is_decoder", json!(true)),
    ] {
        let error = changed(key, value.clone());
        assert!(error.contains("config.json"), "{key}: {error}");
        let named = ["embedding_size", key, "invalid type"].iter().any(|word| error.contains(word));
        assert!(named, "{key} = {value}: {error}");
    }
    let mut old = json_config();
    old["model_type"] = Value::Null;
    assert!(read_config(&old).unwrap_err().contains("model_type"));
    old["architectures"] = json!(["BertForMaskedLM"]);
    assert_eq!(read_config(&old), read_config(&json_config()));
}

#[test]
fn a_folder_without_weights_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), json_config().to_string()).unwrap();
    let error = load(folder.path(), &options()).unwrap_err();
    assert!(error.contains("pytorch_model.bin") && error.contains("fix:"), "{error}");
    std::fs::write(folder.path().join("pytorch_model.bin"), b"no archive").unwrap();
    let error = load(folder.path(), &options()).unwrap_err();
    assert!(error.contains("pytorch_model.bin") && error.contains("fix:"), "{error}");
    std::fs::write(folder.path().join("model.safetensors"), b"cut").unwrap();
    let error = load(folder.path(), &options()).unwrap_err();
    assert!(error.contains("model.safetensors") && error.contains("fix:"), "{error}");
}
