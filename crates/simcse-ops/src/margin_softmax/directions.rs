//! Normalised vectors, their gradients, and the element-wise passes over cosines.

use crate::math::{dot, exp, sum};
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
        let mut inverses = vec![0.0; vectors.len().checked_div(size).unwrap_or(0)];
        inverse_norms(level, vectors, size, &mut inverses);
        let mut values = vectors.to_vec();
        for (row, inverse) in values.chunks_mut(size).zip(&inverses) {
            row.iter_mut().for_each(|value| *value *= inverse);
        }
        Self { values, inverses }
    }
}

/// 1 / length of each row; 0 for a vector without direction.
pub(super) fn inverse_norms(level: Level, vectors: &[f32], size: usize, inverses: &mut [f32]) {
    for (row, inverse) in vectors.chunks(size.max(1)).zip(inverses) {
        let mut squares = 0.0;
        sum_of_squares(level, row, &mut squares);
        let length = squares.sqrt();
        // A length that is no number stays so, for the loss to show it.
        *inverse = if length < SHORTEST { 0.0 } else { 1.0 / length };
    }
}

dispatch! {
    fn sum_of_squares(values: &[f32], result: &mut f32) {
        *result = sum(values, |value| value * value);
    }
}

dispatch! {
    /// Each value becomes the larger one of two.
    fn take_larger(values: &[f32], largest: &mut [f32]) {
        for (largest, value) in largest.iter_mut().zip(values) {
            *largest = if *value > *largest { *value } else { *largest };
        }
    }
}

dispatch! {
    /// A class takes the rows to which it is nearer than the nearest one so far.
    fn take_nearer(class: u32, cosines: &[f32], nearest_cosine: &mut [f32], nearest: &mut [u32]) {
        for ((cosine, nearest_cosine), nearest) in cosines.iter().zip(nearest_cosine).zip(nearest) {
            let is_nearer = *cosine > *nearest_cosine;
            *nearest_cosine = if is_nearer { *cosine } else { *nearest_cosine };
            *nearest = if is_nearer { class } else { *nearest };
        }
    }
}

dispatch! {
    /// Each sum grows by e^(scale · cosine - largest).
    fn add_powers(scale: f32, cosines: &[f32], largest: &[f32], sums: &mut [f32]) {
        for ((sum, cosine), largest) in sums.iter_mut().zip(cosines).zip(largest) {
            *sum += exp(scale * cosine - largest);
        }
    }
}

dispatch! {
    /// Each cosine becomes factor · e^(scale · cosine - log_sum).
    fn powers(scale: f32, log_sums: &[f32], factors: &[f32], cosines: &mut [f32]) {
        for ((cosine, log_sum), factor) in cosines.iter_mut().zip(log_sums).zip(factors) {
            *cosine = factor * exp(scale * *cosine - log_sum);
        }
    }
}

dispatch! {
    fn inner_product(left: &[f32], right: &[f32], result: &mut f32) {
        *result = dot(left, right);
    }
}

dispatch! {
    fn set_times(factor: f32, values: &[f32], result: &mut [f32]) {
        result.iter_mut().zip(values).for_each(|(result, value)| *result = factor * value);
    }
}

dispatch! {
    fn add_times(factor: f32, values: &[f32], result: &mut [f32]) {
        result.iter_mut().zip(values).for_each(|(result, value)| *result += factor * value);
    }
}

dispatch! {
    /// The gradient by a direction becomes that by the vector: its part across the direction, over the vector's length.
    fn across(direction: &[f32], inverse: f32, gradient: &mut [f32]) {
        let along = dot(direction, gradient);
        for (gradient, direction) in gradient.iter_mut().zip(direction) {
            *gradient = (*gradient - along * direction) * inverse;
        }
    }
}
