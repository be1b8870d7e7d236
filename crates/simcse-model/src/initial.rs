//! Initial values, drawn from the run's own streams (candle's CPU generator cannot be seeded).

use candle_core::{Device, Result, Shape, Tensor};
use rand::RngExt as _;
use rand_distr::{Distribution, StandardNormal};
use simcse_random::Stream;

/// Normal values with mean 0 and standard deviation 1, as `torch.nn.Embedding` begins.
pub fn normal(shape: impl Into<Shape>, stream: Stream) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = stream.rng();
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| StandardNormal.sample(&mut rng)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Uniform values between `-bound` and `bound`. `torch.nn.Conv1d` and `Linear` begin with
/// `bound = 1 / sqrt(fan_in)`.
pub fn uniform(shape: impl Into<Shape>, bound: f32, stream: Stream) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = stream.rng();
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| rng.random_range(-bound..=bound)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}
