//! Rates of large matrix products through the kernels that training uses.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use simcse_ops::linear::{Activation, Precision, linear};
use statrs::statistics::{Data, OrderStatistics as _};

const REPEATS: usize = 15;

/// GFLOP/s of square products in both precisions, medians.
pub(crate) fn run() -> Result<String> {
    let mut rates = serde_json::Map::new();
    for precision in [Precision::Float32, Precision::BFloat16] {
        for size in [1024, 2048] {
            rates.insert(format!("{} {size}", precision.name()), json!(rate(size, precision)?));
        }
    }
    Ok(serde_json::to_string(&rates)?)
}

fn rate(size: usize, precision: Precision) -> Result<f64> {
    let square = Tensor::ones((size, size), DType::F32, &Device::Cpu)?;
    let bias = square.get(0)?;
    let mut seconds = Vec::new();
    for _ in 0..REPEATS {
        let began = Instant::now();
        linear(&square, &square, &bias, Activation::Identity, precision)?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    Ok(2.0 * (size as f64).powi(3) / Data::new(seconds).median() / 1e9)
}
