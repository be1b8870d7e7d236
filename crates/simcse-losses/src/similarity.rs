//! Cosine and dot product of all pairs.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

/// Rows with a squared norm up to this have no direction: a norm of 1e-12, where PyTorch's `normalize`
/// stops dividing as well.
const SMALLEST_SQUARED_NORM: f64 = 1e-24;

/// How two embeddings are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// Dot product of the vectors scaled to length 1: from -1 to 1, and 0 for a vector of zeros.
    Cosine,
    /// Dot product of the vectors as they are.
    Dot,
}

impl Similarity {
    /// Similarity of every row of `left` with every row of `right`: `[B, D]` × `[C, D]` → `[B, C]`.
    ///
    /// Differentiable. Fails when the sizes `D`, the dtypes or the devices differ.
    pub fn matrix(self, left: &Tensor, right: &Tensor) -> Result<Tensor> {
        self.prepare(left)?.matmul(&self.prepare(right)?.t()?)
    }

    /// The vectors whose dot products are this similarity: `[B, D]` → `[B, D]`.
    pub(crate) fn prepare(self, embeddings: &Tensor) -> Result<Tensor> {
        match self {
            Self::Cosine => l2_normalize(embeddings),
            Self::Dot => Ok(embeddings.clone()),
        }
    }
}

/// Scales the vectors of the last dimension to length 1: `[.., D]` → `[.., D]`.
///
/// A vector shorter than 1e-12 is left as it is and passes its gradient on unchanged. (Dividing by a small
/// constant instead would multiply that gradient by 1e12, and `sqrt` alone has an infinite slope at 0 that
/// becomes NaN in the product rule.) Fails on an integer tensor.
pub fn l2_normalize(embeddings: &Tensor) -> Result<Tensor> {
    let squared_norms = embeddings.sqr()?.sum_keepdim(D::Minus1)?;
    let has_direction = squared_norms.gt(SMALLEST_SQUARED_NORM)?;
    let safe = has_direction.where_cond(&squared_norms, &squared_norms.ones_like()?)?;
    embeddings.broadcast_div(&safe.sqrt()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn vectors<const N: usize>(rows: &[[f32; 3]; N]) -> Var {
        Var::new(rows, &Device::Cpu).unwrap()
    }

    // import torch, torch.nn.functional as F
    // a = torch.tensor([[3., 4., 0.], [-1., 2., 2.]], requires_grad=True)
    // b = torch.tensor([[0.5, -1., 2.], [2., 1., 2.], [0., -3., 4.]])
    // s = F.cosine_similarity(a[:, None], b[None], dim=-1)
    // (s * torch.tensor([[1., -2., .5], [3., .25, -1.]])).sum().backward(); print(s, a.grad, a @ b.T)
    #[test]
    fn matrices_equal_pytorch() {
        let left = vectors(&[[3., 4., 0.], [-1., 2., 2.]]);
        let right = vectors(&[[0.5, -1., 2.], [2., 1., 2.], [0., -3., 4.]]);
        let cosine = Similarity::Cosine.matrix(&left, &right).unwrap();
        close(&cosine, &COSINE);
        let weights = Tensor::new(&[[1_f32, -2., 0.5], [3., 0.25, -1.]], &Device::Cpu).unwrap();
        let gradients = (cosine * weights).unwrap().sum_all().unwrap().backward().unwrap();
        close(gradients.get(&left).unwrap(), &COSINE_GRADIENT);
        close(&Similarity::Dot.matrix(&left, &right).unwrap(), &[-2.5, 10., -12., 1.5, 4., 2.]);
    }
    const COSINE: [f32; 6] = [-0.21821788, 0.6666667, -0.48, 0.21821788, 0.44444445, 0.13333333];
    const COSINE_GRADIENT: [f32; 6] =
        [-0.00803695, 0.00602772, -0.01209238, 0.34404358, -0.34919828, 0.5212201];

    fn close(got: &Tensor, want: &[f32]) {
        let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 2e-6), "{got:?} is not {want:?}");
    }

    #[test]
    fn a_vector_of_zeros_has_cosine_zero_and_a_finite_gradient() {
        let left = vectors(&[[0.; 3], [1e-20, 0., 0.], [1., 2., 2.]]);
        let right = vectors(&[[0.; 3], [0., 0., 7.]]);
        let cosine = Similarity::Cosine.matrix(&left, &right).unwrap();
        close(&cosine, &[0., 0., 0., 0., 0., 2. / 3.]);
        let gradients = cosine.sum_all().unwrap().backward().unwrap();
        // The gradient of the zero row is the sum of the unit vectors that it meets, unchanged.
        close(&gradients.get(&left).unwrap().narrow(0, 0, 2).unwrap(), &[0., 0., 1., 0., 0., 1.]);
        let of_right = gradients.get(&right).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(of_right.iter().all(|g| g.is_finite()), "{of_right:?}");
    }

    #[test]
    fn length_is_one_at_any_scale() {
        for scale in [1e-8_f32, 1e-3, 1., 1e6, 1e15] {
            close(&l2_normalize(&vectors(&[[3. * scale, 0., -4. * scale]])).unwrap(), &[0.6, 0., -0.8]);
        }
    }
}
