//! Sums of squares, for the global norm of a gradient.

use candle_core::Result;
use rayon::prelude::*;

use super::Gradient;
use crate::profile;
use crate::simd::{Level, dispatch};
use crate::tensors::with_values;

/// Elements of one parallel task.
const CHUNK: usize = 1 << 15;

impl Gradient {
    /// Sum of the squares of all values, in float64 and in one order on every machine. Fails unless they are float32 on the CPU.
    pub fn sum_of_squares(&self) -> Result<f64> {
        let _time = profile::kernel("gradient norm");
        match self {
            Self::Whole(tensor) => with_values(tensor, |values| Ok(sum_of_squares(values))),
            Self::Rows(rows) => Ok(sum_of_squares(rows.values())),
        }
    }
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let parts: Vec<f64> = values
        .par_chunks(CHUNK)
        .map(|chunk| {
            let mut sum = 0.0;
            chunk_sum_of_squares(Level::current(), chunk, &mut sum);
            sum
        })
        .collect();
    parts.iter().sum()
}

/// Sums that are added up side by side.
const LANES: usize = 32;

dispatch! {
    fn chunk_sum_of_squares(values: &[f32], sum: &mut f64) {
        // Sums side by side: one chain of additions would wait for each to finish.
        let mut lanes = [0.0_f64; LANES];
        let pieces = values.chunks_exact(LANES);
        for (lane, value) in lanes.iter_mut().zip(pieces.remainder()) {
            *lane += f64::from(*value) * f64::from(*value);
        }
        for piece in pieces {
            for (lane, value) in lanes.iter_mut().zip(piece) {
                *lane += f64::from(*value) * f64::from(*value);
            }
        }
        *sum = lanes.iter().sum();
    }
}
