//! Published encoders against `transformers`: token states, embeddings, and the gradients of a step of
//! SimCSE. The golden files come from `golden/make_transformer.py` (PyTorch in float64).
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use candle_core::Tensor;
use serde_json::Value;
use simcse_data::TokenBatch;
use simcse_losses::{Candidates, InfoNceConfig, Similarity, info_nce};
use simcse_model::{DropoutStream, Mode, Pooling, SentenceEncoder as _, Transformer, TransformerOptions};
use simcse_random::Stream;
use support::{assert_near, model, product_with_wave, values};

fn numbers<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn load(name: &str, layers: Option<usize>) -> Option<Transformer> {
    let options = TransformerOptions { layers, ..TransformerOptions::evaluation(Pooling::Mean) };
    Some(Transformer::load(&model(name)?, &options, Stream::from_seed(0)).unwrap())
}

/// Means to 1e-5, states to `tolerance`.
fn assert_states(golden: &str, name: &str, layers: Option<usize>, tolerance: f64) {
    let golden: Value = serde_json::from_str(golden).unwrap();
    let Some(encoder) = load(name, layers) else { return };
    let ids: Vec<Vec<u32>> = numbers(&golden["ids"]);
    let columns: Vec<usize> = numbers(&golden["columns"]);
    let batch = TokenBatch::from_sequences(&ids).unwrap();
    let last = encoder.token_states(&batch, Mode::Evaluate).unwrap().pop().unwrap();
    let rows = last.to_vec2::<f32>().unwrap();
    for (sentence, range) in batch.offsets().windows(2).enumerate() {
        let rows = &rows[range[0] as usize..range[1] as usize];
        let chosen: Vec<f32> =
            rows.iter().flat_map(|row| columns.iter().map(|column| row[*column])).collect();
        let want: Vec<f64> = numbers(&golden["states"][sentence]);
        assert_near(&chosen, &want, tolerance, &format!("{name}, states of sentence {sentence}"));
        // Rounding adds up over H terms.
        let products: Vec<f32> = rows.iter().map(|row| product_with_wave(row) as f32).collect();
        let want: Vec<f64> = numbers(&golden["products"][sentence]);
        assert_near(&products, &want, 5.0 * tolerance, &format!("{name}, products of sentence {sentence}"));
    }
    let means = encoder.forward(&batch, Mode::Evaluate).unwrap().to_vec2::<f32>().unwrap();
    for (sentence, mean) in means.iter().enumerate() {
        let want: Vec<f64> = numbers(&golden["means"][sentence]);
        assert_near(mean, &want, 1e-5, &format!("{name}, mean of sentence {sentence}"));
    }
}

#[test]
fn bert_tiny_equals_transformers() {
    assert_states(include_str!("golden/transformer_bert_tiny.json"), "bert-tiny-zh", None, 1e-5);
}

/// PyTorch in float32 is itself up to 1.7e-5 away from PyTorch in float64 here: this encoder's weights are large.
#[test]
fn albert_tiny_equals_transformers() {
    assert_states(include_str!("golden/transformer_albert_tiny.json"), "albert-tiny-zh", None, 2e-5);
}

#[test]
fn multilingual_e5_equals_transformers() {
    let name = "multilingual-e5-small-zh-en";
    assert_states(include_str!("golden/transformer_e5_12_layers.json"), name, None, 1e-5);
    assert_states(include_str!("golden/transformer_e5_6_layers.json"), name, Some(6), 1e-5);
}

fn loss(embeddings: &Tensor) -> Tensor {
    let config = InfoNceConfig {
        candidates: Candidates::OtherView,
        symmetric: false,
        similarity: Similarity::Cosine,
        temperature: 0.05,
        margin: None,
        shared_dropout_mask: false,
        hard_negative_weight: None,
        queue: None,
    };
    let half = embeddings.dims()[0] / 2;
    let [anchors, positives] = [0, half].map(|start| embeddings.narrow(0, start, half).unwrap());
    info_nce(&anchors, &positives, &config, None).unwrap().mean().unwrap()
}

/// A step of SimCSE on three pairs, dropout off: anchors are sentences 0, 1, 2, positives 4, 5, 3.
fn assert_gradients(golden: &str, name: &str) {
    let golden: Value = serde_json::from_str(golden).unwrap();
    let Some(encoder) = load(name, None) else { return };
    let ids: Vec<Vec<u32>> = numbers(&golden["ids"]);
    let rows: Vec<&[u32]> = [0, 1, 2, 4, 5, 3].iter().map(|index| ids[*index].as_slice()).collect();
    let mode = Mode::Train(DropoutStream::new(Stream::from_seed(1), 0));
    let loss = loss(&encoder.forward(&TokenBatch::from_sequences(&rows).unwrap(), mode).unwrap());
    assert_near(&values(&loss), &[golden["loss"].as_f64().unwrap()], 1e-5, "loss");
    let gradients = simcse_ops::gradients::backward(&loss).unwrap();
    let wanted = golden["gradients"].as_object().unwrap();
    assert_eq!(encoder.parameters().iter().len(), wanted.len());
    let norm = |name: &str| wanted[name]["norm"].as_f64().unwrap();
    let largest = wanted.keys().map(|name| norm(name)).fold(0.0, f64::max);
    for (parameter, variable) in encoder.parameters().iter() {
        let got = values(&gradients.whole(variable).unwrap().unwrap());
        // The bias of a key moves no probability: its gradient is 0 but for rounding.
        let tolerance = 1e-4 * norm(parameter).max(2e-4 * largest);
        let near = |got: f64, want: f64, what: &str| {
            assert!((got - want).abs() < tolerance, "{name} {parameter} {what}: {got}, wanted {want}");
        };
        let got_norm = got.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        near(got_norm, norm(parameter), "norm");
        near(product_with_wave(&got), wanted[parameter]["product"].as_f64().unwrap(), "product");
        for (index, want) in numbers::<Vec<(usize, f64)>>(&wanted[parameter]["entries"]) {
            near(f64::from(got[index]), want, &format!("entry {index}"));
        }
    }
}

#[test]
fn gradients_of_bert_tiny_equal_pytorch() {
    assert_gradients(include_str!("golden/transformer_bert_tiny.json"), "bert-tiny-zh");
}

#[test]
fn gradients_of_albert_tiny_equal_pytorch() {
    assert_gradients(include_str!("golden/transformer_albert_tiny.json"), "albert-tiny-zh");
}
