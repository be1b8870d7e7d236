//! The time of each kernel at the sizes of a training step: `cargo bench -p simcse-ops`.
//!
//! Shapes are those of a batch of 64 sentences in two views, 1,400 tokens in all, of a BERT of 384 dimensions and of a
//! TextCNN; "backward" is forward and backward together, as a step runs them.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may panic")]

use candle_core::{DType, Device, Tensor, Var};
use divan::Bencher;
use divan::counter::ItemsCount;
use simcse_ops::Segments;
use simcse_ops::adamw::{AdamWStep, Moments, adamw};
use simcse_ops::attention::attention;
use simcse_ops::conv_max::conv_relu_max;
use simcse_ops::embedding::embedding;
use simcse_ops::layer_norm::{LayerNormSites, LayerNormWeights, layer_norm};
use simcse_ops::linear::{Activation, Precision, linear};

const SENTENCES: usize = 128;
const TOKENS: usize = 1408;
const HIDDEN: usize = 384;

fn main() {
    simcse_ops::process::run(divan::main);
}

fn values(shape: &[usize]) -> Var {
    Var::randn(0_f32, 1_f32, shape, &Device::Cpu).unwrap()
}

fn sentences() -> Segments {
    let length = (TOKENS / SENTENCES) as u32;
    Segments::new(&(0..=SENTENCES as u32).map(|sentence| sentence * length).collect::<Vec<_>>()).unwrap()
}

/// Times `forward`, and with `backward` the gradients of its sum as well; counts floating point operations or values.
fn time(bencher: Bencher, count: usize, backward: bool, forward: impl Fn() -> Tensor) {
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let output = forward();
        backward.then(|| simcse_ops::gradients::backward(&output.sum_all().unwrap()).unwrap())
    });
}

#[divan::bench(args = [(384, 1152), (384, 1536), (1536, 384)], consts = [false, true])]
fn linear_float32<const BACKWARD: bool>(bencher: Bencher, (inner, outputs): (usize, usize)) {
    time_linear(bencher, (inner, outputs), BACKWARD, Precision::Float32);
}

#[divan::bench(args = [(384, 1152), (384, 1536), (1536, 384)], consts = [false, true])]
fn linear_bfloat16<const BACKWARD: bool>(bencher: Bencher, (inner, outputs): (usize, usize)) {
    time_linear(bencher, (inner, outputs), BACKWARD, Precision::BFloat16);
}

fn time_linear(bencher: Bencher, (inner, outputs): (usize, usize), backward: bool, precision: Precision) {
    let (input, weight, bias) = (values(&[TOKENS, inner]), values(&[outputs, inner]), values(&[outputs]));
    let products = if backward { 3 } else { 1 };
    time(bencher, products * 2 * TOKENS * inner * outputs, backward, || {
        linear(&input, &weight, &bias, Activation::Identity, precision).unwrap()
    });
}

#[divan::bench(consts = [false, true])]
fn gelu_after_linear<const BACKWARD: bool>(bencher: Bencher) {
    let (input, weight, bias) = (values(&[TOKENS, 1]), values(&[4 * HIDDEN, 1]), values(&[4 * HIDDEN]));
    time(bencher, TOKENS * 4 * HIDDEN, BACKWARD, || {
        linear(&input, &weight, &bias, Activation::Gelu, Precision::Float32).unwrap()
    });
}

#[divan::bench(consts = [false, true])]
fn attention_of_12_heads<const BACKWARD: bool>(bencher: Bencher) {
    let (projected, segments) = (values(&[TOKENS, 3 * HIDDEN]), sentences());
    time(bencher, TOKENS, BACKWARD, || attention(&projected, 12, &segments, None).unwrap());
}

#[divan::bench(consts = [false, true])]
fn residual_and_layer_norm<const BACKWARD: bool>(bencher: Bencher) {
    let (input, residual, segments) = (values(&[TOKENS, HIDDEN]), values(&[TOKENS, HIDDEN]), sentences());
    let (weight, bias) = (values(&[HIDDEN]), values(&[HIDDEN]));
    let weights = LayerNormWeights { weight: &weight, bias: &bias, epsilon: 1e-12 };
    time(bencher, TOKENS * HIDDEN, BACKWARD, || {
        let sites = LayerNormSites {
            segments: &segments,
            residual: Some(&residual),
            input_masks: None,
            output_masks: None,
        };
        layer_norm(&input, weights, sites).unwrap()
    });
}

#[divan::bench(consts = [false, true])]
fn embedding_of_40000_rows<const BACKWARD: bool>(bencher: Bencher) {
    let (table, segments) = (values(&[40_000, HIDDEN]), sentences());
    let ids: Vec<u32> = (0..TOKENS as u32).map(|token| token * 27 % 40_000).collect();
    time(bencher, TOKENS, BACKWARD, || embedding(&table, &ids, &segments, None).unwrap());
}

#[divan::bench(args = [2, 5], consts = [false, true])]
fn convolution_relu_max<const BACKWARD: bool>(bencher: Bencher, width: usize) {
    let (tokens, segments) = (values(&[TOKENS, 300]), sentences());
    let (weight, bias) = (values(&[width, 256, 300]), values(&[256]));
    time(bencher, TOKENS, BACKWARD, || conv_relu_max(&tokens, &[(&weight, &bias)], &segments).unwrap());
}

#[divan::bench]
fn adamw_of_a_million_parameters(bencher: Bencher) {
    let count = 1 << 20;
    let parameter = values(&[count]);
    let gradient = Tensor::ones(count, DType::F32, &Device::Cpu).unwrap();
    let mut moments = Moments::zeros(count);
    let step = AdamWStep {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        step: 1,
        gradient_scale: 1.0,
    };
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        adamw(parameter.as_tensor(), &gradient, &mut moments, step).unwrap();
    });
}
