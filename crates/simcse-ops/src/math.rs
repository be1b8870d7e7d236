//! exp, erf, tanh and sums as plain arithmetic, so that loops over them become SIMD code.
//!
//! Every function is inlined into a [`crate::simd::dispatch`] body and compiled for its instruction set.

/// Added and taken off again, this rounds a float32 of less than 2^22 to a whole number.
const ROUND: f32 = 12_582_912.0;

/// e^x to about 2 units in the last place; arguments below -87 give less than 2e-38.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Not `clamp`: its care for NaN costs more than the rest. A NaN comes through as a NaN.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    // ln 2 in two parts, so that the rest keeps its last bits (Cody and Waite 1980).
    let rest = whole.mul_add(2.121_944_4e-4, whole.mul_add(-0.693_359_4, x));
    let series = polynomial(rest, [1.398_2e-3, 8.333_452e-3, 0.041_665_795, 0.166_666_65, 0.5, 1.0, 1.0]);
    // The whole number stands in the low bits of `shifted`; moved into the exponent it is the power of two.
    series * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// A polynomial by Horner's rule, the highest power first.
///
/// In fused steps, as all sums here that a kernel waits for: one rounding instead of two, and the same bits at every level.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients.into_iter().reduce(|sum, coefficient| sum.mul_add(x, coefficient)).unwrap_or_default()
}

/// Φ(x), the standard normal distribution function, and e^(-x²/2).
///
/// Abramowitz and Stegun 7.1.26; absolute error below 2e-7.
#[inline(always)]
pub(crate) fn normal_distribution(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / 0.327_591_1_f32.mul_add(z, 1.0);
    let bell = exp(-z * z);
    let series = t * polynomial(t, [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6]);
    let tail = 0.5 * series * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

/// Hyperbolic tangent; absolute error below 2e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// Sums side by side: one chain of additions would wait for each to finish.
const LANES: usize = 16;

/// All lanes as one, by halves: four steps that wait for each other instead of sixteen.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(a, b)| *a = join(*a, *b));
        half /= 2;
    }
    lanes[0]
}

/// Σ f(element) over a slice, in one order at every level.
#[inline(always)]
pub(crate) fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|value| term(*value)).sum();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += term(*value));
    }
    fold(lanes, |a, b| a + b) + rest
}

/// Σ a · b, in one order at every level.
#[inline(always)]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (lefts, rights) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest: f32 = lefts.remainder().iter().zip(rights.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in lefts.zip(rights) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane = a.mul_add(*b, *lane));
    }
    fold(lanes, |a, b| a + b) + rest
}

/// The largest element; -∞ of none.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(f32::NEG_INFINITY, |largest, value| largest.max(*value));
    for chunk in chunks {
        // Not `max`: its care for NaN costs more than the comparison. A NaN among the sums will be seen there.
        lanes
            .iter_mut()
            .zip(chunk)
            .for_each(|(lane, value)| *lane = if *value > *lane { *value } else { *lane });
    }
    fold(lanes, |a, b| if a > b { a } else { b }).max(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_float64_over_the_whole_range() {
        let mut x = -90.0_f32;
        while x < 88.0 {
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs();
            assert!(error <= want * 3e-7 + 2e-38, "exp({x}): {} instead of {want}", exp(x));
            let error = (f64::from(tanh(x)) - f64::from(x).tanh()).abs();
            assert!(error < 2e-7, "tanh({x})");
            x += 0.0137;
        }
    }

    /// `scipy.stats.norm.cdf([-6, -3, -1, -0.1, 0, 0.1, 1, 3, 6])`.
    #[test]
    fn distribution_function_equals_scipy() {
        let points = [-6.0_f32, -3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0, 6.0];
        let golden = [
            9.865_876_45e-10,
            0.001_349_898_03,
            0.158_655_253_9,
            0.460_172_162_7,
            0.5,
            0.539_827_837_3,
            0.841_344_746_1,
            0.998_650_102,
            0.999_999_999,
        ];
        for (x, want) in points.into_iter().zip(golden) {
            let (got, bell) = normal_distribution(x);
            assert!((f64::from(got) - want).abs() < 2e-7, "{x}: {got} instead of {want}");
            assert!((f64::from(bell) - (-0.5 * f64::from(x * x)).exp()).abs() < 2e-7);
        }
    }
}
