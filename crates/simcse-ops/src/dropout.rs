//! Inverted dropout whose masks are a function of a key and a position (Srivastava et al. 2014, section 10).
//!
//! Every row of a batch has a key, made from (seed, step, site, view, sentence); the element's position in
//! the row is the counter. The mask of a sentence therefore depends neither on its neighbours nor on the
//! order of evaluation: a replayed, resumed or re-batched forward sees the same masks.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use simcse_random::uniform_bits;

use crate::profile;
use crate::simd::{Level, dispatch};
use crate::tensors::{values, with_values};

/// The masks of one dropout site for one batch: a rate, and one key for each row. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DropoutMasks {
    rate: f32,
    keys: Arc<[u64]>,
}

impl DropoutMasks {
    /// `rate`: probability that an element becomes 0; the others are divided by `1 - rate`. `keys`: one
    /// for each row (sentence) of the batch. Fails unless `0 <= rate < 1`.
    pub fn new(rate: f32, keys: Vec<u64>) -> Result<Self> {
        if !(0.0..1.0).contains(&rate) {
            bail!("a dropout rate must lie in [0, 1), got {rate}");
        }
        Ok(Self { rate, keys: keys.into() })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.keys.len()
    }

    /// Multiplies elements of one row by their mask; `first` is the position of `values[0]` in the row.
    pub(crate) fn apply(&self, level: Level, row: usize, first: u32, values: &mut [f32]) {
        if self.rate > 0.0 {
            // Rounding to whole 2^-32 steps: exact far beyond what a rate is written with.
            let threshold = (f64::from(self.rate) * 4_294_967_296.0).round() as u32;
            mask_values(level, self.keys[row], first, threshold, 1.0 / (1.0 - self.rate), values);
        }
    }
}

dispatch! {
    fn mask_values(key: u64, first: u32, threshold: u32, scale: f32, values: &mut [f32]) {
        for (index, value) in values.iter_mut().enumerate() {
            let kept = uniform_bits(key, first.wrapping_add(index as u32)) >= threshold;
            *value = if kept { *value * scale } else { 0.0 };
        }
    }
}

/// Dropout over the rows of `input`, `[S, D]` → `[S, D]`. Fails when the masks have another number of rows.
pub fn dropout(input: &Tensor, masks: &DropoutMasks) -> Result<Tensor> {
    let (rows, _) = input.dims2()?;
    if rows != masks.rows() {
        bail!("dropout: {} masks for {rows} rows", masks.rows());
    }
    if masks.rate == 0.0 {
        return Ok(input.clone());
    }
    input.contiguous()?.apply_op1(Dropout { masks: masks.clone() })
}

struct Dropout {
    masks: DropoutMasks,
}

impl Dropout {
    /// Forward and backward are the same product with the mask.
    fn masked(&self, values: &[f32]) -> Vec<f32> {
        let mut output = values.to_vec();
        let columns = (values.len() / self.masks.rows().max(1)).max(1);
        output.par_chunks_mut(columns).enumerate().for_each(|(row, values)| {
            self.masks.apply(Level::current(), row, 0, values);
        });
        output
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let _time = profile::kernel("dropout, forward");
        let output = self.masked(values(self.name(), storage, layout)?);
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, _input: &Tensor, _output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let _time = profile::kernel("dropout, backward");
        let masked = with_values(gradient, |gradient| Ok(self.masked(gradient)))?;
        Ok(Some(Tensor::from_vec(masked, gradient.shape(), gradient.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use simcse_random::Stream;

    fn keys(rows: u64) -> Vec<u64> {
        (0..rows).map(|row| Stream::from_seed(5).fold(row).key()).collect()
    }

    #[test]
    fn keeps_the_share_and_the_mean() {
        const ROWS: usize = 64;
        const COLUMNS: usize = 1000;
        let ones = Tensor::ones((ROWS, COLUMNS), candle_core::DType::F32, &Device::Cpu).unwrap();
        for rate in [0.05_f32, 0.1, 0.5, 0.9] {
            let masks = DropoutMasks::new(rate, keys(ROWS as u64)).unwrap();
            let rows = dropout(&ones, &masks).unwrap().to_vec2::<f32>().unwrap();
            let dropped = rows.iter().flatten().filter(|value| **value == 0.0).count() as f64;
            let n = (ROWS * COLUMNS) as f64;
            let rate = f64::from(rate);
            let five_sigma = 5.0 * (n * rate * (1.0 - rate)).sqrt();
            assert!((dropped - n * rate).abs() < five_sigma, "rate {rate}: {dropped} of {n} dropped");
            assert!(
                rows.iter().flatten().all(|v| *v == 0.0 || (f64::from(*v) - 1.0 / (1.0 - rate)).abs() < 1e-5)
            );
            assert_ne!(rows[0], rows[1], "rows must have masks of their own");
        }
    }

    #[test]
    fn every_level_draws_the_same_mask_and_any_cut_of_the_row() {
        let masks = DropoutMasks::new(0.3, keys(2)).unwrap();
        let mut whole = vec![1.0; 301];
        masks.apply(Level::Portable, 1, 0, &mut whole);
        for level in Level::available() {
            let mut parts = vec![1.0; 301];
            let (left, right) = parts.split_at_mut(77);
            masks.apply(level, 1, 0, left);
            masks.apply(level, 1, 77, right);
            assert_eq!(parts, whole, "{level:?}");
        }
    }

    #[test]
    fn the_gradient_passes_through_the_same_mask() {
        let input =
            Var::from_tensor(&Tensor::ones((3, 50), candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap();
        let output = dropout(&input, &DropoutMasks::new(0.4, keys(3)).unwrap()).unwrap();
        let gradients = output.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&input).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(gradient, output.to_vec2::<f32>().unwrap());
    }

    #[test]
    fn a_rate_of_one_or_more_is_refused() {
        for rate in [1.0, -0.1, f32::NAN] {
            assert!(DropoutMasks::new(rate, Vec::new()).is_err());
        }
    }
}
