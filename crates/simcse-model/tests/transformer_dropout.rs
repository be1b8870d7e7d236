//! Dropout of a transformer: the masks of every site in every layer, views, batching; and that training
//! reaches every parameter.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use candle_core::Tensor;
use simcse_data::TokenBatch;
use simcse_model::transformer::{Architecture, HiddenActivation};
use simcse_model::{
    DropoutRates, DropoutStream, Mode, Pooling, SentenceEncoder, TokenEncoder as _, Transformer,
    TransformerConfig, TransformerOptions,
};
use simcse_random::Stream;
use support::values;

const SIZE: usize = 64;

fn config(architecture: Architecture, heads: usize) -> TransformerConfig {
    TransformerConfig {
        architecture,
        vocab_size: 30,
        embedding_size: SIZE,
        hidden_size: SIZE,
        num_hidden_layers: 2,
        num_attention_heads: heads,
        intermediate_size: 16,
        hidden_act: HiddenActivation::Gelu,
        max_position_embeddings: 12,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        pad_token_id: 1,
    }
}

fn encoder(architecture: Architecture, heads: usize, dropout: DropoutRates, pooling: Pooling) -> Transformer {
    let options = TransformerOptions {
        layers: None,
        dropout,
        masked_lm: true,
        ..TransformerOptions::evaluation(pooling)
    };
    Transformer::new(config(architecture, heads), &options, Stream::from_seed(3)).unwrap()
}

fn step(step: u64) -> Mode {
    Mode::Train(DropoutStream::new(Stream::from_seed(1), step))
}

fn batch() -> TokenBatch {
    TokenBatch::from_sequences(&[vec![1, 2, 3], vec![4], vec![5, 6, 7, 8, 9, 1, 2]]).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Site {
    Embeddings,
    AttentionProbabilities,
    AttentionOutput,
    FeedForwardOutput,
}

const SITES: [Site; 4] =
    [Site::Embeddings, Site::AttentionProbabilities, Site::AttentionOutput, Site::FeedForwardOutput];

/// Dropout at one site alone.
fn only(site: Site, rate: f64) -> DropoutRates {
    let mut rates = DropoutRates::NONE;
    *match site {
        Site::Embeddings => &mut rates.embeddings,
        Site::AttentionProbabilities => &mut rates.attention_probabilities,
        Site::AttentionOutput => &mut rates.attention_output,
        Site::FeedForwardOutput => &mut rates.feed_forward_output,
    } = rate;
    rates
}

/// Sets every parameter whose name ends so.
fn set(encoder: &Transformer, ending: &str, value: impl Fn(usize, usize) -> f32) {
    let mut found = 0;
    for (_, variable) in encoder.parameters().iter().filter(|(name, _)| name.ends_with(ending)) {
        let columns = *variable.dims().last().unwrap();
        let count = variable.elem_count();
        let values: Vec<f32> = (0..count).map(|index| value(index / columns, index % columns)).collect();
        variable.set(&Tensor::from_vec(values, variable.dims(), variable.device()).unwrap()).unwrap();
        found += 1;
    }
    assert!(found > 0, "no parameter ends in {ending}");
}

/// An encoder that shows the masks of one site. Every sentence is one token and every feature a head, so
/// each probability of attention is 1. What the site drops out is made 50 everywhere, other blocks give 0;
/// the norm after it then puts what was kept above 0 and what was dropped below, whatever the residual.
fn transparent(architecture: Architecture, site: Site, rate: f64) -> Transformer {
    let encoder = encoder(architecture, SIZE, only(site, rate), Pooling::Mean);
    let is_albert = architecture == Architecture::Albert;
    let [attention, feed_forward] = match is_albert {
        true => ["attention.dense", "ffn_output"],
        false => ["attention.output.dense", "encoder.layer.0.output.dense"],
    };
    let identity = |row, column| f32::from(u8::from(row == column));
    if is_albert {
        set(&encoder, "embedding_hidden_mapping_in.weight", identity);
    } else {
        set(&encoder, "encoder.layer.1.output.dense.weight", |_, _| 0.0);
    }
    for block in [attention, feed_forward] {
        set(&encoder, &format!("{block}.weight"), |_, _| 0.0);
    }
    match site {
        Site::Embeddings => {}
        Site::AttentionProbabilities => {
            set(&encoder, "value.bias", |_, _| 50.0);
            set(&encoder, &format!("{attention}.weight"), identity);
        }
        Site::AttentionOutput => set(&encoder, &format!("{attention}.bias"), |_, _| 50.0),
        Site::FeedForwardOutput if is_albert => set(&encoder, "ffn_output.bias", |_, _| 50.0),
        Site::FeedForwardOutput => {
            set(&encoder, "layer.0.output.dense.bias", |_, _| 50.0);
            set(&encoder, "layer.1.output.dense.bias", |_, _| 50.0);
            // The attention's bias ends in the same words.
            set(&encoder, "attention.output.dense.bias", |_, _| 0.0);
        }
    }
    encoder
}

/// Which elements were dropped, for each layer that has the site.
fn masks(architecture: Architecture, site: Site, rate: f64) -> Vec<Vec<bool>> {
    let sentences: Vec<Vec<u32>> = (0..400).map(|index| vec![index % 30]).collect();
    let batch = TokenBatch::from_sequences(&sentences).unwrap();
    let states = transparent(architecture, site, rate).token_states(&batch, step(0)).unwrap();
    let dropped = |states: &Tensor, is_dropped: fn(f32) -> bool| {
        values(states).into_iter().map(is_dropped).collect::<Vec<bool>>()
    };
    match site {
        Site::Embeddings => vec![dropped(&states[0], |value| value == 0.0)],
        _ => states[1..].iter().map(|states| dropped(states, |value| value < 0.0)).collect(),
    }
}

#[test]
fn every_site_drops_its_share_with_a_mask_of_its_own() {
    for architecture in [Architecture::Bert, Architecture::Albert, Architecture::Roberta] {
        let mut all = Vec::new();
        for site in SITES {
            let rate = 0.2;
            for (layer, mask) in masks(architecture, site, rate).into_iter().enumerate() {
                let count = mask.len() as f64;
                let dropped = mask.iter().filter(|dropped| **dropped).count() as f64;
                let five_sigma = 5.0 * (count * rate * (1.0 - rate)).sqrt();
                let what = format!("{architecture:?} {site:?} layer {layer}");
                assert!((dropped - count * rate).abs() < five_sigma, "{what}: {dropped} of {count}");
                all.push((what, mask));
            }
        }
        assert_eq!(all.len(), 7, "1 site of the embedding layer and 3 of each of 2 layers");
        for (index, (first, a)) in all.iter().enumerate() {
            for (second, b) in &all[index + 1..] {
                let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count() as f64;
                let (count, share) = (a.len() as f64, 0.2 * 0.2);
                let five_sigma = 5.0 * (count * share * (1.0 - share)).sqrt();
                assert!((both - count * share).abs() < five_sigma, "{first} and {second} share a mask");
            }
        }
    }
}

/// What is kept is divided by 1 - rate: seen where nothing follows the dropout.
#[test]
fn what_is_kept_is_scaled() {
    let encoder = encoder(Architecture::Bert, 4, only(Site::Embeddings, 0.3), Pooling::Mean);
    let [train, evaluate] =
        [step(0), Mode::Evaluate].map(|mode| values(&encoder.token_states(&batch(), mode).unwrap()[0]));
    for (train, evaluate) in train.iter().zip(&evaluate) {
        assert!(*train == 0.0 || (train - evaluate / 0.7).abs() < 1e-5, "{train} of {evaluate}");
    }
}

/// Each site alone, and all at once: views differ, steps repeat, pieces see the masks of the whole.
#[test]
fn views_differ_steps_repeat_and_pieces_agree() {
    let rates = SITES.map(|site| only(site, 0.3)).into_iter().chain([DropoutRates::new(0.1, 0.1)]);
    let twice = batch().with_views(2).unwrap();
    for (architecture, rates) in rates.flat_map(|rates| {
        [Architecture::Bert, Architecture::Albert].map(|architecture| (architecture, rates))
    }) {
        let encoder = encoder(architecture, 4, rates, Pooling::Mean);
        let what = format!("{architecture:?} {rates:?}");
        let forward =
            |batch: &TokenBatch, mode| encoder.forward(batch, mode).unwrap().to_vec2::<f32>().unwrap();
        let rows = forward(&twice, step(0));
        let evaluated = forward(&twice, Mode::Evaluate);
        for sentence in 0..3 {
            assert_ne!(rows[sentence], rows[sentence + 3], "{what}: two views must differ");
            assert_ne!(rows[sentence], evaluated[sentence], "{what}: dropout must act");
            assert_eq!(evaluated[sentence], evaluated[sentence + 3], "{what}: evaluation knows no views");
        }
        assert_eq!(rows, forward(&twice, step(0)), "{what}: a step must be repeatable");
        assert_ne!(rows, forward(&twice, step(1)), "{what}: another step must draw other masks");
        let piece = forward(&twice.slice(2..5).unwrap(), step(0));
        for (a, b) in rows[2..5].concat().iter().zip(piece.concat()) {
            assert!((a - b).abs() < 1e-5, "{what}: {a} in the whole batch, {b} in a piece");
        }
    }
}

/// A sentence alone and in a batch agree in evaluation.
#[test]
fn a_sentence_does_not_see_its_neighbours() {
    for architecture in [Architecture::Bert, Architecture::Albert, Architecture::XlmRoberta] {
        let encoder = encoder(architecture, 4, DropoutRates::new(0.1, 0.1), Pooling::Mean);
        let together = encoder.forward(&batch(), Mode::Evaluate).unwrap().to_vec2::<f32>().unwrap();
        for (row, together) in together.iter().enumerate() {
            let alone = encoder.forward(&batch().slice(row..row + 1).unwrap(), Mode::Evaluate).unwrap();
            for (a, b) in values(&alone).iter().zip(together) {
                assert!((a - b).abs() < 1e-5, "{a} alone, {b} in the batch");
            }
        }
    }
}

#[test]
fn every_parameter_gets_a_gradient_that_is_not_zero() {
    let poolings = [
        Pooling::Cls,
        Pooling::ClsTanhInTraining,
        Pooling::ClsTanh,
        Pooling::Mean,
        Pooling::FirstLastMean,
        Pooling::Max,
        Pooling::LayerMix,
        Pooling::WeightedMean,
        Pooling::SmoothMaximum,
    ];
    for architecture in [Architecture::Bert, Architecture::Albert, Architecture::Roberta] {
        for pooling in poolings {
            let encoder = encoder(architecture, 4, DropoutRates::new(0.1, 0.1), pooling);
            let embeddings = encoder.forward(&batch(), step(0)).unwrap();
            let logits = encoder.masked_lm_logits(&batch(), &[1, 5], step(0)).unwrap();
            let wave: Vec<f32> = (0..embeddings.elem_count()).map(|index| (index as f32).sin()).collect();
            let wave = Tensor::from_vec(wave, embeddings.dims(), embeddings.device()).unwrap();
            let loss = (embeddings * wave).unwrap().sum_all().unwrap();
            let loss = (loss + logits.sqr().unwrap().sum_all().unwrap()).unwrap();
            let gradients = simcse_ops::gradients::backward(&loss).unwrap();
            for (name, variable) in encoder.parameters().iter() {
                let what = format!("{architecture:?} {pooling:?} {name}");
                let gradient =
                    gradients.whole(variable).unwrap().unwrap_or_else(|| panic!("no gradient: {what}"));
                assert!(values(&gradient).iter().any(|value| *value != 0.0), "the gradient is 0: {what}");
            }
        }
    }
}

#[test]
fn evaluation_keeps_no_graph_and_sees_new_values() {
    let encoder = encoder(Architecture::Bert, 4, DropoutRates::new(0.1, 0.1), Pooling::LayerMix);
    let before = encoder.forward(&batch(), Mode::Evaluate).unwrap();
    assert!(!before.track_op());
    assert!(!encoder.masked_lm_logits(&batch(), &[1], Mode::Evaluate).unwrap().track_op());
    assert!(encoder.forward(&batch(), step(0)).unwrap().track_op());
    set(&encoder, "word_embeddings.weight", |row, column| (row * 7 + column) as f32 % 5.0);
    let after = encoder.forward(&batch(), Mode::Evaluate).unwrap();
    assert_ne!(values(&before), values(&after));
}

#[test]
fn a_copy_has_parameters_of_its_own() {
    let encoder = encoder(Architecture::Albert, 4, DropoutRates::new(0.1, 0.1), Pooling::ClsTanh);
    let copy = encoder.copy().unwrap();
    let forward = |encoder: &dyn SentenceEncoder| {
        [step(0), Mode::Evaluate].map(|mode| values(&encoder.forward(&batch(), mode).unwrap()))
    };
    let before = forward(&encoder);
    assert_eq!(before, forward(copy.as_ref()));
    set(&encoder, "ffn.weight", |row, column| (row + column) as f32 / 50.0);
    assert_ne!(before, forward(&encoder));
    assert_eq!(before, forward(copy.as_ref()), "training the one must leave the other");
}

#[test]
fn rates_and_layers_out_of_range_are_named() {
    let fail = |options: TransformerOptions| {
        let config = config(Architecture::Bert, 4);
        Transformer::new(config, &options, Stream::from_seed(0)).unwrap_err().to_string()
    };
    let options = TransformerOptions::evaluation(Pooling::Mean);
    for site in SITES {
        let error = fail(TransformerOptions { dropout: only(site, 1.0), ..options.clone() });
        assert!(error.contains("[0, 1)"), "{error}");
    }
    for layers in [0, 3] {
        let error = fail(TransformerOptions { layers: Some(layers), ..options.clone() });
        assert!(error.contains("layers") && error.contains("fix:"), "{error}");
    }
}
