//! Residual + layer normalisation + dropout as one op (Ba et al. 2016; where BERT has its dropout, Devlin et
//! al. 2019 and the code of `transformers`).

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use crate::Segments;
use crate::dropout::DropoutMasks;
use crate::simd::Level;
use crate::tensors::{to_tensor, values, with_values};

mod kernel;
pub(crate) use kernel::LayerNorm;

/// The parameters of a layer normalisation.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormWeights<'a> {
    /// Scale of each element, `[H]`.
    pub weight: &'a Tensor,
    /// Shift of each element, `[H]`.
    pub bias: &'a Tensor,
    /// Added to the variance.
    pub epsilon: f64,
}

/// What stands around a layer normalisation.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormSites<'a> {
    /// The sentences of the batch.
    pub segments: &'a Segments,
    /// Added to the input after its dropout, `[T, H]`.
    pub residual: Option<&'a Tensor>,
    /// Dropout of the input.
    pub input_masks: Option<&'a DropoutMasks>,
    /// Dropout of the output.
    pub output_masks: Option<&'a DropoutMasks>,
}

/// `dropout(norm(dropout(input) + residual) · weight + bias)`, each token on its own: `[T, H]` → `[T, H]`.
///
/// The mask position of element `h` of the `t`-th token of a sentence is `t · H + h`. Fails when shapes, segments
/// and masks disagree, or a tensor is not float32 on the CPU.
pub fn layer_norm(input: &Tensor, weights: LayerNormWeights, sites: LayerNormSites) -> Result<Tensor> {
    layer_norm_at(Level::current(), input, weights, sites)
}

/// [`layer_norm`] at a chosen SIMD level.
pub fn layer_norm_at(
    level: Level,
    input: &Tensor,
    weights: LayerNormWeights,
    sites: LayerNormSites,
) -> Result<Tensor> {
    let (tokens, size) = input.dims2()?;
    let LayerNormSites { segments, residual, input_masks, output_masks } = sites;
    if weights.weight.dims() != [size] || weights.bias.dims() != [size] || size == 0 {
        let (weight, bias) = (weights.weight.dims(), weights.bias.dims());
        bail!(
            "layer norm: input {:?}, weight {weight:?} and bias {bias:?} do not fit together",
            input.dims()
        );
    }
    if segments.tokens() != tokens {
        bail!("layer norm: the segments hold {} tokens, the input {tokens}", segments.tokens());
    }
    for masks in [input_masks, output_masks].into_iter().flatten() {
        if masks.rows() != segments.len() {
            bail!("layer norm: {} dropout masks for {} sentences", masks.rows(), segments.len());
        }
    }
    // A custom op takes three tensors: weight and bias travel as one.
    let affine = Tensor::stack(&[weights.weight, weights.bias], 0)?;
    let op = LayerNorm {
        level,
        size,
        epsilon: weights.epsilon as f32,
        segments: segments.clone(),
        input_masks: input_masks.cloned(),
        output_masks: output_masks.cloned(),
        keeps: input.track_op() || affine.track_op() || residual.is_some_and(Tensor::track_op),
        saved: Mutex::default(),
    };
    let input = input.contiguous()?;
    match residual {
        Some(residual) if residual.dims() != input.dims() => {
            bail!("layer norm: input {:?} and residual {:?} differ", input.dims(), residual.dims())
        }
        Some(residual) => input.apply_op3(&residual.contiguous()?, &affine, op),
        None => input.apply_op2(&affine, op),
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "residual-layer-norm"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = CustomOp3::name(self);
        let residual = values(name, residual, residual_layout)?;
        let affine = values(name, affine, affine_layout)?;
        let output = self.forward(values(name, input, input_layout)?, Some(residual), affine);
        Ok((CpuStorage::F32(output), input_layout.shape().clone()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        _residual: &Tensor,
        affine: &Tensor,
        _output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_sum, of_input, of_affine) = with_values(gradient, |gradient| {
            with_values(affine, |affine| Ok(self.backward(affine, gradient.to_vec())))
        })?;
        let of_sum = to_tensor(of_sum, input)?;
        let of_input = of_input.map_or(Ok(of_sum.clone()), |values| to_tensor(values, input))?;
        Ok((Some(of_input), Some(of_sum), Some(to_tensor(of_affine, affine)?)))
    }
}

impl CustomOp2 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = CustomOp2::name(self);
        let affine = values(name, affine, affine_layout)?;
        let output = self.forward(values(name, input, input_layout)?, None, affine);
        Ok((CpuStorage::F32(output), input_layout.shape().clone()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        affine: &Tensor,
        _output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_sum, of_input, of_affine) = with_values(gradient, |gradient| {
            with_values(affine, |affine| Ok(self.backward(affine, gradient.to_vec())))
        })?;
        Ok((Some(to_tensor(of_input.unwrap_or(of_sum), input)?), Some(to_tensor(of_affine, affine)?)))
    }
}
