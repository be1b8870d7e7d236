//! Whitening as a head after training (Su et al. 2021, "Whitening Sentence Representations for Better
//! Semantics and Faster Retrieval", equations 4 to 8 and algorithm 1).
//!
//! x̃ = (x − μ) W with W = U Λ^(−1/2), from the covariance Σ = U Λ Uᵀ of embeddings: every direction of the
//! whitened embeddings has mean 0 and variance 1, and none correlates with another.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use nalgebra::{DMatrix, SymmetricEigen};

use crate::{ModelError, Result};

/// A direction whose variance is below this share of the largest is left out: dividing by the root of such
/// a variance only makes rounding large.
const SMALLEST_SHARE: f64 = 1e-9;

/// An affine map that whitens embeddings of size `D` to size `K`.
#[derive(Debug, Clone, PartialEq)]
pub struct Whitening {
    /// μ, `[D]`.
    mean: Vec<f32>,
    /// W, row-major `[D, K]`; columns by falling variance.
    weight: Vec<f32>,
}

impl Whitening {
    /// Fits the map on `embeddings`, row-major `[n, D]` with `D = size`.
    ///
    /// The covariance has divisor n − 1, as in the authors' code. At most `kept` directions of largest
    /// variance are kept (left out: all). Signs are chosen so that the entry of largest magnitude of each
    /// eigenvector is positive. Sums run in f64, in the order of the rows.
    ///
    /// Fails on fewer than 2 embeddings, on a value that is not finite, when all embeddings are equal, and
    /// when `kept` is 0.
    pub fn fit(embeddings: &[f32], size: usize, kept: Option<usize>) -> Result<Self> {
        check(embeddings, size, kept)?;
        let mean = mean(embeddings, size);
        let eigen = SymmetricEigen::new(covariance(embeddings, &mean));
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let largest = eigen.eigenvalues[order[0]];
        if largest <= 0.0 {
            return Err(fault("all embeddings are equal; fix: give different sentences"));
        }
        order.retain(|&index| eigen.eigenvalues[index] >= SMALLEST_SHARE * largest);
        order.truncate(kept.unwrap_or(size));
        let mut weight = vec![0.0; size * order.len()];
        for (column, &index) in order.iter().enumerate() {
            let vector = eigen.eigenvectors.column(index);
            let scale = vector[vector.iamax()].signum() / eigen.eigenvalues[index].sqrt();
            for (row, value) in vector.iter().enumerate() {
                weight[row * order.len() + column] = (value * scale) as f32;
            }
        }
        Ok(Self { mean: mean.iter().map(|&value| value as f32).collect(), weight })
    }

    /// Whitens row-major `[n, D]` to `[n, K]`; each row depends on itself alone. Sums run in f64.
    pub fn apply(&self, embeddings: &[f32]) -> Vec<f32> {
        let kept = self.embedding_size();
        let mut whitened = Vec::with_capacity(embeddings.len() / self.mean.len() * kept);
        let mut sums = vec![0.0_f64; kept];
        for row in embeddings.chunks_exact(self.mean.len()) {
            sums.fill(0.0);
            for ((value, mean), weights) in row.iter().zip(&self.mean).zip(self.weight.chunks_exact(kept)) {
                let centred = f64::from(*value) - f64::from(*mean);
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += centred * f64::from(*weight));
            }
            whitened.extend(sums.iter().map(|&sum| sum as f32));
        }
        whitened
    }

    /// Size `K` of a whitened embedding.
    pub fn embedding_size(&self) -> usize {
        self.weight.len() / self.mean.len()
    }

    /// `mean` `[D]` and `weight` `[D, K]`, the form on disk.
    pub(crate) fn to_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let (size, kept) = (self.mean.len(), self.embedding_size());
        Ok(vec![
            ("mean".to_owned(), Tensor::from_slice(&self.mean, size, &Device::Cpu)?),
            ("weight".to_owned(), Tensor::from_slice(&self.weight, (size, kept), &Device::Cpu)?),
        ])
    }

    /// The same map as a linear layer: weight `[K, D]` = Wᵀ and bias `[K]` = −μ W.
    pub(crate) fn to_linear(&self) -> Result<(Tensor, Tensor)> {
        let (size, kept) = (self.mean.len(), self.embedding_size());
        let weight = Tensor::from_slice(&self.weight, (size, kept), &Device::Cpu)?.t()?.contiguous()?;
        let bias = Tensor::from_vec(self.apply(&vec![0.0; size]), kept, &Device::Cpu)?;
        Ok((weight, bias))
    }

    /// The inverse of [`Whitening::to_tensors`], for embeddings of `size`. Fails, naming `path`, on tensors
    /// that are missing, of another type or of another shape.
    pub(crate) fn from_tensors(path: &Path, tensors: &HashMap<String, Tensor>, size: usize) -> Result<Self> {
        let (Some(mean), Some(weight)) = (tensors.get("mean"), tensors.get("weight")) else {
            return Err(ModelError::file(path, "lacks `mean` or `weight`; fix: save the encoder again"));
        };
        let fits =
            mean.dims() == [size] && matches!(weight.dims(), [rows, kept] if *rows == size && *kept > 0);
        if !fits || [mean, weight].iter().any(|tensor| tensor.dtype() != DType::F32) {
            let problem = format!(
                "mean {:?} and weight {:?} do not whiten float32 embeddings of {size}; fix: copy the encoder \
                 directory again, whole",
                mean.dims(),
                weight.dims()
            );
            return Err(ModelError::file(path, problem));
        }
        Ok(Self { mean: mean.to_vec1()?, weight: weight.flatten_all()?.to_vec1()? })
    }
}

fn fault(problem: impl Into<String>) -> ModelError {
    ModelError::Whitening(problem.into())
}

fn check(embeddings: &[f32], size: usize, kept: Option<usize>) -> Result<()> {
    if size == 0 || !embeddings.len().is_multiple_of(size) {
        let values = embeddings.len();
        return Err(fault(format!("{values} values are no embeddings of {size}; fix: give [n, {size}]")));
    }
    let count = embeddings.len() / size;
    if count < 2 {
        return Err(fault(format!("{count} embeddings have no covariance; fix: give 2 sentences or more")));
    }
    if kept == Some(0) {
        return Err(fault("kept = 0 leaves nothing; fix: give 1 or more, or leave it out for all"));
    }
    match embeddings.iter().position(|value| !value.is_finite()) {
        Some(position) => {
            let row = position / size;
            Err(fault(format!("embedding {row} is not finite; fix: train with a lower learning rate")))
        }
        None => Ok(()),
    }
}

/// μ, `[D]`.
fn mean(embeddings: &[f32], size: usize) -> Vec<f64> {
    let mut sums = vec![0.0; size];
    for row in embeddings.chunks_exact(size) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let count = (embeddings.len() / size) as f64;
    sums.iter().map(|sum| sum / count).collect()
}

/// Σ, `[D, D]`, with divisor n − 1.
fn covariance(embeddings: &[f32], mean: &[f64]) -> DMatrix<f64> {
    let size = mean.len();
    let mut sums = vec![0.0; size * size];
    let mut centred = vec![0.0; size];
    for row in embeddings.chunks_exact(size) {
        for ((centred, &value), mean) in centred.iter_mut().zip(row).zip(mean) {
            *centred = f64::from(value) - mean;
        }
        // The lower triangle; the upper one is its mirror image.
        for (first, sums) in sums.chunks_exact_mut(size).enumerate() {
            let factor = centred[first];
            sums[..=first].iter_mut().zip(&centred).for_each(|(sum, second)| *sum += factor * second);
        }
    }
    let divisor = (embeddings.len() / size - 1) as f64;
    DMatrix::from_fn(size, size, |row, column| sums[row.max(column) * size + row.min(column)] / divisor)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]
mod tests {
    use super::*;

    const EMBEDDINGS: [f32; 18] =
        [1.0, 2.0, 0.5, 0.0, 1.0, -1.0, 3.0, -1.0, 2.0, 2.0, 0.0, 0.25, -1.0, 4.0, 1.0, 0.5, 0.5, -2.0];

    fn assert_near(got: &[f32], want: &[f64], what: &str) {
        assert_eq!(got.len(), want.len(), "{what}");
        for (index, (got, want)) in got.iter().zip(want).enumerate() {
            let near = (f64::from(*got) - want).abs() < 1e-6 * want.abs().max(1.0);
            assert!(near, "{what}[{index}]: {got}, numpy has {want}");
        }
    }

    // import numpy as np
    // x = np.array([[1, 2, .5], [0, 1, -1], [3, -1, 2], [2, 0, .25], [-1, 4, 1], [.5, .5, -2]])
    // mean = x.mean(0)
    // u, s, _ = np.linalg.svd(np.cov(x.T))
    // w = u / np.sqrt(s)
    // w *= np.sign(u[np.abs(u).argmax(0), range(3)])
    // print(mean, w, (np.array([[1., 1, 1], [-2, 0, 3]]) - mean) @ w)
    #[test]
    fn equals_numpy() {
        let whitening = Whitening::fit(&EMBEDDINGS, 3, None).unwrap();
        assert_near(&whitening.mean, &[0.916_666_67, 1.083_333_33, 0.125], "mean");
        #[rustfmt::skip]
        let weight = [
            -0.287_874_6, 0.105_245_82, 2.590_190_94,
            0.341_726_21, 0.241_577_21, 1.891_567_54,
            -0.084_314_81, 0.619_768_53, -1.177_159_46,
        ];
        assert_near(&whitening.weight, &weight, "weight");
        let others = whitening.apply(&[1.0, 1.0, 1.0, -2.0, 0.0, 3.0]);
        let whitened =
            [-0.126_242_2, 0.530_936_51, -0.971_795_91, 0.227_025_78, 1.213_158_89, -12.988_255_19];
        assert_near(&others, &whitened, "whitened");
    }

    #[test]
    fn whitened_embeddings_have_mean_zero_and_the_identity_as_covariance() {
        let whitening = Whitening::fit(&EMBEDDINGS, 3, None).unwrap();
        let whitened = whitening.apply(&EMBEDDINGS);
        let mean = mean(&whitened, 3);
        assert!(mean.iter().all(|value| value.abs() < 1e-6), "{mean:?}");
        let distance = (covariance(&whitened, &mean) - DMatrix::identity(3, 3)).amax();
        assert!(distance < 1e-5, "{distance}");
    }

    #[test]
    fn kept_directions_are_the_first_ones() {
        let [all, two] = [None, Some(2)].map(|kept| Whitening::fit(&EMBEDDINGS, 3, kept).unwrap());
        assert_eq!((all.embedding_size(), two.embedding_size()), (3, 2));
        for (all, two) in all.apply(&EMBEDDINGS).chunks(3).zip(two.apply(&EMBEDDINGS).chunks(2)) {
            assert_eq!(all[..2], *two);
        }
        assert_eq!(Whitening::fit(&EMBEDDINGS, 3, Some(9)).unwrap(), all);
    }

    /// The third value is the sum of the others: numpy finds an eigenvalue of rounding alone.
    #[test]
    fn a_direction_without_variance_is_left_out() {
        let pairs = [[1.0, 2.0], [0.3, 1.0], [3.0, -1.0], [2.0, 0.1]];
        let rows: Vec<f32> = pairs.iter().flat_map(|[a, b]| [*a, *b, a + b]).collect();
        let whitening = Whitening::fit(&rows, 3, None).unwrap();
        assert_eq!(whitening.embedding_size(), 2);
        assert!(whitening.apply(&rows).iter().all(|value| value.abs() < 2.0));
    }

    #[test]
    fn what_cannot_be_whitened_is_said() {
        let message = |embeddings: &[f32], kept| Whitening::fit(embeddings, 2, kept).unwrap_err().to_string();
        for (error, problem) in [
            (message(&[1.0, 2.0], None), "1 embeddings"),
            (message(&[1.0, 2.0, 1.0, 2.0], None), "equal"),
            (message(&[1.0, 2.0, 3.0], None), "3 values"),
            (message(&[1.0, 2.0, f32::NAN, 0.0], None), "embedding 1 is not finite"),
            (message(&[1.0, 2.0, 3.0, 5.0], Some(0)), "kept = 0"),
        ] {
            assert!(error.contains(problem) && error.contains("fix:"), "{error}");
        }
    }
}
