//! Small random encoders of each family against `transformers`: states of every layer and logits of the head
//! of masked language modelling. Files and numbers come from `golden/make_small_models.py`.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use simcse_data::TokenBatch;
use simcse_model::{
    DropoutStream, Mode, Pooling, SentenceEncoder as _, TokenEncoder as _, Transformer, TransformerOptions,
};
use simcse_random::Stream;
use support::{assert_near, values};

const NAMES: [&str; 4] = ["bert", "albert", "roberta", "xlm-roberta"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/small_models")
}

fn golden() -> (Value, TokenBatch) {
    let golden: Value = serde_json::from_str(include_str!("golden/small_models/golden.json")).unwrap();
    let sentences: Vec<Vec<u32>> = serde_json::from_value(golden["sentences"].clone()).unwrap();
    (golden, TokenBatch::from_sequences(&sentences).unwrap())
}

fn load(name: &str, pooling: Pooling) -> Transformer {
    let options = TransformerOptions { masked_lm: true, ..TransformerOptions::evaluation(pooling) };
    Transformer::load(&folder().join(name), &options, Stream::from_seed(0)).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The golden states `[tokens, H]` of one sentence and layer.
fn rows(golden: &Value, name: &str, sentence: usize, layer: usize) -> Vec<Vec<f64>> {
    numbers(&golden["models"][name]["states"][sentence][layer]).chunks(8).map(<[f64]>::to_vec).collect()
}

#[test]
fn states_of_every_layer_equal_transformers() {
    let (golden, batch) = golden();
    for name in NAMES {
        let layers = load(name, Pooling::Mean).token_states(&batch, Mode::Evaluate).unwrap();
        assert_eq!(layers.len(), 3);
        for (number, states) in layers.iter().enumerate() {
            let want: Vec<f64> = (0..batch.rows())
                .flat_map(|sentence| rows(&golden, name, sentence, number).concat())
                .collect();
            assert_near(&values(states), &want, 1e-5, &format!("{name}, layer {number}"));
        }
    }
}

#[test]
fn logits_of_masked_tokens_equal_transformers() {
    let (golden, batch) = golden();
    let places: Vec<[u32; 2]> = serde_json::from_value(golden["positions"].clone()).unwrap();
    let positions: Vec<u32> =
        places.iter().map(|[sentence, token]| batch.offsets()[*sentence as usize] + token).collect();
    for name in NAMES {
        let encoder = load(name, Pooling::Mean);
        let logits = encoder.masked_lm_logits(&batch, &positions, Mode::Evaluate).unwrap();
        assert_eq!(logits.dims(), [3, 14]);
        let want: Vec<f64> =
            golden["models"][name]["logits"].as_array().unwrap().iter().flat_map(numbers).collect();
        assert_near(&values(&logits), &want, 1e-5, name);
        for wrong in [&[][..], &[99]] {
            assert!(encoder.masked_lm_logits(&batch, wrong, Mode::Evaluate).is_err());
        }
    }
}

/// Every pooling, written out here on the golden states.
#[test]
fn poolings_are_what_they_say() {
    let (golden, batch) = golden();
    type Rows = Vec<Vec<f64>>;
    let mean =
        |rows: &Rows, column: usize| rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64;
    for (pooling, feature) in [
        (Pooling::Cls, &(|layers: &[Rows], column| layers[2][0][column]) as &dyn Fn(&[Rows], usize) -> f64),
        (Pooling::ClsTanhInTraining, &|layers, column| layers[2][0][column]),
        (Pooling::Mean, &|layers, column| mean(&layers[2], column)),
        (Pooling::WeightedMean, &|layers, column| mean(&layers[2], column)),
        (Pooling::FirstLastMean, &|layers, column| {
            (mean(&layers[1], column) + mean(&layers[2], column)) / 2.0
        }),
        (Pooling::Max, &|layers, column| layers[2].iter().map(|row| row[column]).fold(f64::MIN, f64::max)),
        (Pooling::LayerMix, &|layers, column| {
            layers.iter().map(|rows| mean(rows, column)).sum::<f64>() / 3.0
        }),
    ] {
        let got = load("bert", pooling).forward(&batch, Mode::Evaluate).unwrap().to_vec2::<f32>().unwrap();
        for (sentence, got) in got.iter().enumerate() {
            let layers: Vec<Rows> = (0..3).map(|layer| rows(&golden, "bert", sentence, layer)).collect();
            let want: Vec<f64> = (0..8).map(|column| feature(&layers, column)).collect();
            assert_near(got, &want, 1e-5, &format!("{pooling:?} of {sentence}"));
        }
    }
}

#[test]
fn the_tanh_layer_acts_where_it_should() {
    let (_, batch) = golden();
    let train = Mode::Train(DropoutStream::new(Stream::from_seed(1), 0));
    for (pooling, mode, acts) in [
        (Pooling::ClsTanh, train, true),
        (Pooling::ClsTanh, Mode::Evaluate, true),
        (Pooling::ClsTanhInTraining, train, true),
        (Pooling::ClsTanhInTraining, Mode::Evaluate, false),
    ] {
        let encoder = load("bert", pooling);
        let got = values(&encoder.forward(&batch, mode).unwrap());
        let first = load("bert", Pooling::Cls).forward(&batch, Mode::Evaluate).unwrap();
        let [weight, bias] =
            ["weight", "bias"].map(|name| encoder.parameters().get(&format!("head.dense.{name}")).unwrap());
        assert!(values(bias).iter().all(|value| *value == 0.0), "the layer begins without a shift");
        let layer = first.matmul(&weight.t().unwrap()).unwrap().broadcast_add(bias).unwrap().tanh().unwrap();
        let want: Vec<f64> =
            values(if acts { &layer } else { &first }).iter().map(|v| f64::from(*v)).collect();
        assert_near(&got, &want, 1e-5, &format!("{pooling:?}"));
    }
}

#[test]
fn token_weights_weigh_the_mean() {
    let (golden, batch) = golden();
    let encoder = load("bert", Pooling::WeightedMean);
    let size = encoder.config().vocab_size;
    let logarithms: Vec<f32> = (0..size).map(|id| 0.3 * id as f32 - 1.0).collect();
    encoder.set_token_weights(&logarithms).unwrap();
    let got = encoder.forward(&batch, Mode::Evaluate).unwrap().to_vec2::<f32>().unwrap();
    for (sentence, got) in got.iter().enumerate() {
        let rows = rows(&golden, "bert", sentence, 2);
        let weights: Vec<f64> =
            batch.row(sentence).iter().map(|id| f64::from(logarithms[*id as usize]).exp()).collect();
        let total: f64 = weights.iter().sum();
        let column = |column: usize| {
            rows.iter().zip(&weights).map(|(row, weight)| row[column] * weight).sum::<f64>() / total
        };
        assert_near(got, &(0..8).map(column).collect::<Vec<_>>(), 1e-5, &format!("sentence {sentence}"));
    }
    assert!(encoder.set_token_weights(&logarithms[1..]).is_err());
    assert!(load("bert", Pooling::Mean).set_token_weights(&logarithms).is_err());
}

/// Written out in float64 from its definition, without subtracting a maximum.
#[test]
fn the_smooth_maximum_lies_between_weighted_mean_and_maximum() {
    let (golden, batch) = golden();
    let encoder = load("bert", Pooling::SmoothMaximum);
    let logarithms: Vec<f32> = (0..encoder.config().vocab_size).map(|id| 0.3 * id as f32 - 1.0).collect();
    encoder.set_token_weights(&logarithms).unwrap();
    for sharpness in [0.25_f32, 1.0, 6.0] {
        encoder.set_sharpness(sharpness).unwrap();
        let got = encoder.forward(&batch, Mode::Evaluate).unwrap().to_vec2::<f32>().unwrap();
        for (sentence, got) in got.iter().enumerate() {
            let rows = rows(&golden, "bert", sentence, 2);
            let weights: Vec<f64> =
                batch.row(sentence).iter().map(|id| f64::from(logarithms[*id as usize]).exp()).collect();
            let beta = f64::from(sharpness);
            let want = |column: usize| {
                let powers =
                    rows.iter().zip(&weights).map(|(row, weight)| weight * (beta * row[column]).exp());
                (powers.sum::<f64>() / weights.iter().sum::<f64>()).ln() / beta
            };
            assert_near(got, &(0..8).map(want).collect::<Vec<_>>(), 1e-5, &format!("{sentence} {sharpness}"));
        }
    }
    // States of any size: nothing overflows.
    encoder.set_sharpness(1e4).unwrap();
    let sharp = values(&encoder.forward(&batch, Mode::Evaluate).unwrap());
    let largest = values(&load("bert", Pooling::Max).forward(&batch, Mode::Evaluate).unwrap());
    assert!(sharp.iter().zip(&largest).all(|(sharp, largest)| (sharp - largest).abs() < 1e-2));
    assert!(load("bert", Pooling::Mean).set_sharpness(1.0).is_err());
}

/// What it learns gets the gradient of finite differences: the sharpness, a token's weight, and a weight of the network
/// below, for which the maximum that is subtracted within must count as a constant.
#[test]
fn the_smooth_maximum_has_the_gradient_of_finite_differences() {
    let (_, batch) = golden();
    let encoder = load("bert", Pooling::SmoothMaximum);
    encoder.set_sharpness(1.5).unwrap();
    let loss = |mode| {
        let embeddings = encoder.forward(&batch, mode).unwrap();
        let wave: Vec<f32> = (0..embeddings.elem_count()).map(|index| (index as f32).sin()).collect();
        let wave = candle_core::Tensor::from_vec(wave, embeddings.dims(), embeddings.device()).unwrap();
        (embeddings * wave).unwrap().sum_all().unwrap()
    };
    let train = Mode::Train(DropoutStream::new(Stream::from_seed(1), 0));
    let gradients = simcse_ops::gradients::backward(&loss(train)).unwrap();
    let token = batch.row(0)[1] as usize;
    for (name, place) in [
        ("head.sharpness", 0),
        ("head.token_weights", token),
        ("encoder.layer.1.output.dense.bias", 3),
        ("encoder.layer.1.output.LayerNorm.weight", 5),
    ] {
        let parameter = encoder.parameters().get(name).unwrap();
        let before = values(parameter);
        let at = |shift: f32| {
            let mut shifted = before.clone();
            shifted[place] += shift;
            let shifted =
                candle_core::Tensor::from_vec(shifted, parameter.dims(), parameter.device()).unwrap();
            parameter.set(&shifted).unwrap();
            f64::from(loss(Mode::Evaluate).to_scalar::<f32>().unwrap())
        };
        let numeric = (at(5e-3) - at(-5e-3)) / 1e-2;
        at(0.0);
        let got = f64::from(values(&gradients.whole(parameter).unwrap().unwrap())[place]);
        assert!((got - numeric).abs() < 2e-3 * numeric.abs().max(1.0), "{name}: {got}, numeric {numeric}");
    }
}

#[test]
fn layer_weights_are_a_softmax() {
    let (golden, batch) = golden();
    let encoder = load("albert", Pooling::LayerMix);
    let weights = encoder.parameters().get("head.layer_weights").unwrap();
    assert_eq!(values(weights), [0.0; 3]);
    weights.set(&candle_core::Tensor::new(&[1.0_f32, -2.0, 0.5], weights.device()).unwrap()).unwrap();
    let powers = [1.0_f64, -2.0, 0.5].map(f64::exp);
    let got = encoder.forward(&batch, Mode::Evaluate).unwrap().to_vec2::<f32>().unwrap();
    for (sentence, got) in got.iter().enumerate() {
        let want: Vec<f64> = (0..8)
            .map(|column| {
                let mixed = (0..3).map(|layer| {
                    let rows = rows(&golden, "albert", sentence, layer);
                    powers[layer] * rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64
                });
                mixed.sum::<f64>() / powers.iter().sum::<f64>()
            })
            .collect();
        assert_near(got, &want, 1e-5, &format!("sentence {sentence}"));
    }
}

#[test]
fn a_sentence_longer_than_the_positions_is_refused() {
    for (name, room) in [("bert", 6), ("albert", 6), ("roberta", 6)] {
        let encoder = load(name, Pooling::Mean);
        assert_eq!(encoder.config().max_tokens(), room);
        let forward = |tokens: usize| {
            encoder.forward(&TokenBatch::from_sequences(&[vec![5; tokens]]).unwrap(), Mode::Evaluate)
        };
        assert!(forward(room).is_ok());
        let error = forward(room + 1).unwrap_err().to_string();
        assert!(error.contains("7 tokens") && error.contains("6 positions"), "{error}");
    }
}
