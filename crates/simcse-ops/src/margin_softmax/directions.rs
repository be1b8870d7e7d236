//! Normalised vectors, their gradients, and the element-wise passes over cosines.

use rayon::prelude::*;

use crate::math::{exp, sum};
use crate::simd::{Level, dispatch};

/// Vectors that are shorter count as zero: they have no direction.
const SHORTEST: f32 = 1e-12;

/// Normalised vectors, and the inverses of the lengths that they had.
pub(super) struct Directions {
    pub(super) values: Vec<f32>,
    pub(super) inverses: Vec<f32>,
}

impl Directions {
    pub(super) fn of(level: Level, vectors: &[f32], size: usize) -> Self {
        let inverses = inverse_norms(level, vectors, size);
        let mut values = vectors.to_vec();
        for (row, inverse) in values.chunks_mut(size).zip(&inverses) {
            row.iter_mut().for_each(|value| *value *= inverse);
        }
        Self { values, inverses }
    }
}

/// 1 / length of each row; 0 for a vector without direction.
pub(super) fn inverse_norms(level: Level, vectors: &[f32], size: usize) -> Vec<f32> {
    let inverse = |row: &[f32]| {
        let mut squares = 0.0;
        sum_of_squares(level, row, &mut squares);
        let length = squares.sqrt();
        // A length that is no number stays so, for the loss to show it.
        if length < SHORTEST { 0.0 } else { 1.0 / length }
    };
    vectors.par_chunks(size).map(inverse).collect()
}

dispatch! {
    fn sum_of_squares(values: &[f32], result: &mut f32) {
        *result = sum(values, |value| value * value);
    }
}

dispatch! {
    fn scale_by(factors: &[f32], values: &mut [f32]) {
        values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }
}

dispatch! {
    /// `result` = Σ e^(scale · cosine - largest).
    fn sum_of_powers(cosines: &[f32], scale: f32, largest: f32, result: &mut f32) {
        *result = sum(cosines, |cosine| exp(scale * cosine - largest));
    }
}

dispatch! {
    /// Each cosine becomes factor · e^(scale · cosine - log_sum).
    fn powers(scale: f32, log_sum: f32, factor: f32, cosines: &mut [f32]) {
        cosines.iter_mut().for_each(|cosine| *cosine = factor * exp(scale * *cosine - log_sum));
    }
}

dispatch! {
    /// The gradient by a direction becomes that by the vector: its part across the direction, which is `vector` times
    /// `to_direction`, over the vector's length.
    fn across(vector: &[f32], to_direction: f32, inverse: f32, gradient: &mut [f32]) {
        let mut lanes = [0.0_f32; 16];
        let (pairs, tail) = (vector.chunks_exact(16).zip(gradient.chunks_exact(16)), vector.len() / 16 * 16);
        for (vector, gradient) in pairs {
            for ((lane, v), g) in lanes.iter_mut().zip(vector).zip(gradient) {
                *lane += v * g;
            }
        }
        let rest: f32 = vector[tail..].iter().zip(&gradient[tail..]).map(|(v, g)| v * g).sum();
        let along = (lanes.iter().sum::<f32>() + rest) * to_direction * to_direction;
        for (gradient, vector) in gradient.iter_mut().zip(vector) {
            *gradient = (*gradient - along * vector) * inverse;
        }
    }
}
