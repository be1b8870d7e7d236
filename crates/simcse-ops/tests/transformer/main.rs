//! The kernels of a transformer layer against plain candle code in float64, values and gradients, at every SIMD
//! level, with odd sizes, one token, empty sentences and dropout.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod attention;
mod layer_norm;
mod linear;
mod margin_softmax;
mod pooling;
mod support;
mod tape;
