//! A transformer directory: an exact round trip, the same embeddings in sentence-transformers, and
//! directories that sentence-transformers wrote.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use simcse_data::PretrainedTokenizer;
use simcse_model::{Encoder, Pooling, SavedEncoder, SentenceEncoder as _, Transformer, TransformerOptions};
use simcse_random::Stream;
use support::{assert_near, model, product_with_wave};

const SENTENCES: [&str; 4] = [
    "今天下午三点见。",
    "",
    "The bridge is closed.",
    "小猫睡在窗台上，阳光很暖和，没有人去打扰它，也没有声音。",
];

/// Cuts the last sentence.
const MAX_TOKENS: usize = 20;

const POOLINGS: [(&str, Pooling); 9] = [
    ("cls", Pooling::Cls),
    ("cls_tanh_in_training", Pooling::ClsTanhInTraining),
    ("cls_tanh", Pooling::ClsTanh),
    ("mean", Pooling::Mean),
    ("first_last_mean", Pooling::FirstLastMean),
    ("max", Pooling::Max),
    ("layer_mix", Pooling::LayerMix),
    ("weighted_mean", Pooling::WeightedMean),
    ("smooth_maximum", Pooling::SmoothMaximum),
];

/// bert-tiny-zh with a prefix and, for some, a whitening.
fn saved(pooling: Pooling) -> Option<SavedEncoder> {
    let folder = model("bert-tiny-zh")?;
    let options = TransformerOptions::evaluation(pooling);
    let encoder = Transformer::load(&folder, &options, Stream::from_seed(3)).unwrap();
    if let Some(weights) = encoder.parameters().get("head.layer_weights") {
        weights.set(&Tensor::new(&[0.5_f32, -0.25, 0.75], &Device::Cpu).unwrap()).unwrap();
    }
    if let Some(weights) = encoder.parameters().get("head.token_weights") {
        let logarithms: Vec<f32> = (0..weights.elem_count()).map(|id| (id as f32).sin()).collect();
        encoder.set_token_weights(&logarithms).unwrap();
    }
    if pooling == Pooling::SmoothMaximum {
        encoder.set_sharpness(3.0).unwrap();
    }
    if let Some(weight) = encoder.parameters().get("head.dense.weight") {
        // Outputs far from 0: whitening divides by their spread, and rounding with it.
        weight.set(&(weight.as_detached_tensor() * 10.0).unwrap()).unwrap();
    }
    let tokenizer = PretrainedTokenizer::from_folder(&folder).unwrap();
    let mut saved = SavedEncoder::new(encoder, tokenizer, MAX_TOKENS);
    saved.prefix = "查询：".to_owned();
    if matches!(pooling, Pooling::ClsTanh | Pooling::Max) {
        let others =
            ["你好", "再见", "今天很热", "明天下雨", "A cat sleeps.", "图书馆在哪里", "桥", "谢谢你"];
        saved.fit_whitening(&others, Some(5)).unwrap();
    }
    Some(saved)
}

#[test]
fn a_directory_gives_the_same_embeddings_to_the_bit() {
    for (name, pooling) in POOLINGS {
        let Some(before) = saved(pooling) else { return };
        let folder = tempfile::tempdir().unwrap();
        before.save(folder.path()).unwrap();
        let after = SavedEncoder::load(folder.path()).unwrap();
        let embedded = before.embed(&SENTENCES).unwrap();
        assert_eq!(embedded, after.embed(&SENTENCES).unwrap(), "{name}");
        assert_eq!(embedded.truncated, 1);
        assert_eq!((after.prefix.as_str(), after.max_tokens), ("查询：", MAX_TOKENS));
        assert_eq!(after.embedding_size() * SENTENCES.len(), embedded.embeddings.len());
        let Encoder::Transformer(encoder) = &after.encoder else { panic!("{name} is no transformer") };
        assert_eq!(encoder.options().pooling, pooling);
    }
}

/// The golden file is what sentence-transformers 6.2 makes of our directories. To write it again: run this
/// test with `SIMCSE_WRITE_ENCODERS` set to an empty folder, then there
///
/// ```python
/// import json, math, pathlib, numpy as np
/// from sentence_transformers import SentenceTransformer
/// sentences = [...]  # as above
/// golden = {}
/// for folder in sorted(path for path in pathlib.Path(".").iterdir() if path.is_dir()):
///     model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)
///     rows = model.encode(sentences, batch_size=4).astype(float)
///     wave = np.sin(0.7 * np.arange(rows.shape[1]))
///     golden[folder.name] = {"size": rows.shape[1], "first": rows[:, :5].round(7).tolist(),
///                            "products": (rows @ wave).round(7).tolist()}
/// pathlib.Path("sentence_transformers.json").write_text(json.dumps(golden, indent=1))
/// ```
#[test]
fn sentence_transformers_gives_the_same_embeddings() {
    let golden: Value = serde_json::from_str(include_str!("golden/sentence_transformers.json")).unwrap();
    for (name, pooling) in POOLINGS {
        let Some(saved) = saved(pooling) else { return };
        if let Some(folder) = std::env::var_os("SIMCSE_WRITE_ENCODERS") {
            saved.save(&Path::new(&folder).join(name)).unwrap();
            continue;
        }
        // sentence-transformers whitens in float32, where x W and μ W cancel; ours runs in float64.
        let tolerance = if saved.whitening.is_some() { 1e-4 } else { 1e-5 };
        let size = saved.embedding_size();
        assert_eq!(golden[name]["size"], size);
        let products: Vec<f64> = serde_json::from_value(golden[name]["products"].clone()).unwrap();
        for (row, embedding) in saved.embed(&SENTENCES).unwrap().embeddings.chunks(size).enumerate() {
            let first: Vec<f64> = serde_json::from_value(golden[name]["first"][row].clone()).unwrap();
            assert_near(&embedding[..5], &first, tolerance, &format!("{name}, sentence {row}"));
            let product = product_with_wave(embedding) as f32;
            assert_near(&[product], &[products[row]], 3.0 * tolerance, &format!("{name}, product of {row}"));
        }
    }
}

/// What is left when our file is taken away is what sentence-transformers would read.
#[test]
fn a_directory_of_sentence_transformers_loads() {
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::ClsTanh] {
        let Some(mut before) = saved(pooling) else { return };
        before.whitening = None;
        let folder = tempfile::tempdir().unwrap();
        before.save(folder.path()).unwrap();
        std::fs::remove_file(folder.path().join("simcse.json")).unwrap();
        let after = SavedEncoder::load(folder.path()).unwrap();
        assert_eq!(before.embed(&SENTENCES).unwrap(), after.embed(&SENTENCES).unwrap(), "{pooling:?}");
        assert_eq!((after.prefix.as_str(), after.max_tokens), ("查询：", MAX_TOKENS));
    }
}

#[test]
fn the_new_words_of_a_pooling_are_read_and_unknown_modules_named() {
    let Some(before) = saved(Pooling::Cls) else { return };
    let folder = tempfile::tempdir().unwrap();
    before.save(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join("simcse.json")).unwrap();
    let message = |pooling: Value, class: &str| {
        let config = folder.path().join("1_Pooling/config.json");
        std::fs::write(config, pooling.to_string()).unwrap();
        let entry = |class: &str, path: &str| json!({"idx": 0, "name": "0", "path": path, "type": class});
        let modules = json!([entry("a.Transformer", ""), entry("a.Pooling", "1_Pooling"), entry(class, "x")]);
        std::fs::write(folder.path().join("modules.json"), modules.to_string()).unwrap();
        SavedEncoder::load(folder.path()).map_err(|error| error.to_string())
    };
    let loaded = message(json!({"pooling_mode": "mean", "include_prompt": true}), "a.Normalize").unwrap();
    let Encoder::Transformer(encoder) = &loaded.encoder else { panic!("no transformer") };
    assert_eq!(encoder.options().pooling, Pooling::Mean);
    for (pooling, class, problem) in [
        (json!({"pooling_mode": ["mean", "cls"]}), "a.Normalize", "1_Pooling"),
        (json!({"pooling_mode_lasttoken": true}), "a.Normalize", "lasttoken"),
        (json!({"pooling_mode": "mean", "include_prompt": false}), "a.Normalize", "include_prompt"),
        (json!({"pooling_mode": "mean"}), "a.LSTM", "a.LSTM"),
        (json!({"pooling_mode": "mean"}), "a.Dense", "a.Dense"),
    ] {
        let error = message(pooling, class).unwrap_err();
        assert!(error.contains(problem) && error.contains("fix:"), "{error}");
    }
}

#[test]
fn a_broken_directory_is_named_with_its_mend() {
    let spoil = |name: &str, content: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        saved(Pooling::LayerMix).unwrap().save(folder.path()).unwrap();
        match content {
            Some(content) => std::fs::write(folder.path().join(name), content).unwrap(),
            None => std::fs::remove_file(folder.path().join(name)).unwrap(),
        }
        SavedEncoder::load(folder.path()).unwrap_err().to_string()
    };
    if model("bert-tiny-zh").is_none() {
        return;
    }
    for (name, content) in [
        ("head.safetensors", None),
        ("model.safetensors", None),
        ("model.safetensors", Some("cut")),
        ("config.json", None),
        ("config.json", Some("{}")),
        ("tokenizer.json", None),
        ("simcse.json", Some("{\"format\": 2}")),
    ] {
        let error = spoil(name, content);
        assert!(error.contains("fix:"), "{name}: {error}");
    }
}
