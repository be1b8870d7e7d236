//! What follows a linear layer, and its derivative.

use crate::math::{normal_distribution, tanh};
use crate::simd::dispatch;

/// What follows a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// x Φ(x) with the exact normal distribution function (Hendrycks and Gimpel 2016); `gelu` of transformers.
    Gelu,
    /// Its tanh approximation; `gelu_new` and `gelu_pytorch_tanh` of transformers.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// tanh(x).
    Tanh,
}

/// √(2/π), of the tanh approximation.
const TANH_SCALE: f32 = 0.797_884_6;
/// The cubic term of the tanh approximation.
const TANH_CUBE: f32 = 0.044_715;
/// 1 / √(2π), the height of the normal density.
const DENSITY: f32 = 0.398_942_3;

dispatch! {
    fn activate(activation: Activation, values: &mut [f32]) {
        match activation {
            Activation::Identity => {}
            Activation::Gelu => values.iter_mut().for_each(|x| *x *= normal_distribution(*x).0),
            Activation::GeluTanh => values.iter_mut().for_each(|x| {
                *x *= 0.5 * (1.0 + tanh(TANH_SCALE * (*x + TANH_CUBE * *x * *x * *x)));
            }),
            // So asked that NaN stays NaN, and the health checks see it.
            Activation::Relu => values.iter_mut().for_each(|x| *x = if *x <= 0.0 { 0.0 } else { *x }),
            Activation::Tanh => values.iter_mut().for_each(|x| *x = tanh(*x)),
        }
    }
}

dispatch! {
    /// Replaces what went into the activation by `gradient` times the derivative there.
    fn differentiate(activation: Activation, gradient: &[f32], before: &mut [f32]) {
        let pairs = before.iter_mut().zip(gradient);
        match activation {
            Activation::Identity => pairs.for_each(|(x, gradient)| *x = *gradient),
            Activation::Gelu => pairs.for_each(|(x, gradient)| {
                let (distribution, bell) = normal_distribution(*x);
                *x = gradient * (distribution + *x * DENSITY * bell);
            }),
            Activation::GeluTanh => pairs.for_each(|(x, gradient)| {
                let inner = tanh(TANH_SCALE * (*x + TANH_CUBE * *x * *x * *x));
                let slope = TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * *x * *x);
                *x = gradient * 0.5 * (1.0 + inner + *x * (1.0 - inner * inner) * slope);
            }),
            Activation::Relu => pairs.for_each(|(x, gradient)| *x = if *x <= 0.0 { 0.0 } else { *gradient }),
            Activation::Tanh => pairs.for_each(|(x, gradient)| {
                let inner = tanh(*x);
                *x = gradient * (1.0 - inner * inner);
            }),
        }
    }
}
