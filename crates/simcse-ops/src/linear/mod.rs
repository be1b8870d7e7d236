//! Linear layer with bias and activation as one op.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::gradients;
use crate::products::{Output, Products, Threads, View};
use crate::profile;
use crate::simd::{Level, dispatch};
use crate::tensors::{lock, to_tensor, values, with_values, zeros};

mod activation;
pub use activation::Activation;
use activation::{activate, differentiate};

/// Elements of one parallel task of the element-wise passes.
const CHUNK: usize = 1 << 14;
/// Columns of one parallel task of the bias gradient.
const COLUMNS: usize = 256;

/// What the numbers of a matrix product are rounded to before they are multiplied. Sums, results and gradients are
/// float32 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Precision {
    /// Not rounded.
    #[default]
    #[serde(rename = "f32")]
    Float32,
    /// The upper half of a float32. Fast where the CPU multiplies such numbers (AVX512-BF16); elsewhere the same
    /// rounding, but slower than float32.
    #[serde(rename = "bf16")]
    BFloat16,
}

impl Precision {
    /// The name that it has in configurations and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "f32",
            Self::BFloat16 => "bf16",
        }
    }
}

/// `activation(input · weightᵀ + bias)`: `[T, K]`, `[N, K]`, `[N]` → `[T, N]`, and its gradients in the same
/// precision.
///
/// `weight` is stored as PyTorch's `Linear.weight`. Fails when the shapes do not fit together or the tensors are
/// not float32 on the CPU.
pub fn linear(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Activation,
    precision: Precision,
) -> Result<Tensor> {
    linear_at(Level::current(), input, weight, bias, activation, precision)
}

/// [`linear`] at a chosen SIMD level.
pub fn linear_at(
    level: Level,
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Activation,
    precision: Precision,
) -> Result<Tensor> {
    let ((rows, inner), (columns, weight_inner)) = (input.dims2()?, weight.dims2()?);
    if inner != weight_inner || bias.dims() != [columns] {
        bail!(
            "linear: input {:?}, weight {:?} and bias {:?} do not fit together",
            input.dims(),
            weight.dims(),
            bias.dims()
        );
    }
    let tracked = input.track_op() || weight.track_op() || bias.track_op();
    let layer = Layer { level, activation, precision };
    let op =
        Linear { layer, shape: ProductShape { rows, inner, columns }, tracked, before: Mutex::default() };
    input.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// Linear layers side by side and what follows them, on plain numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) level: Level,
    pub(crate) activation: Activation,
    pub(crate) precision: Precision,
}

impl Layer {
    fn products(self) -> Products {
        Products { level: self.level, precision: self.precision, threads: Threads::All }
    }

    /// `[T, K]` through weights `[Nᵢ, K]` with all of their biases in a row: `[T, Σ Nᵢ]`, and if `keeps` what went into
    /// the activation (nothing where there is none).
    pub(crate) fn forward(
        self,
        input: View,
        weights: &[View],
        bias: &[f32],
        keeps: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        let transposed: Vec<View> = weights.iter().map(|weight| weight.transposed()).collect();
        let time = profile::product("linear, product", input.rows, input.columns, bias.len());
        let mut output = self.products().with_row(input, &transposed, bias);
        drop(time);
        if self.activation == Activation::Identity {
            return (output, Vec::new());
        }
        if keeps {
            return (self.activated(&output), output);
        }
        let _time = profile::kernel("activation, forward");
        output.par_chunks_mut(CHUNK).for_each(|chunk| activate(self.level, self.activation, chunk));
        (output, Vec::new())
    }

    /// What comes out of the activation.
    pub(crate) fn activated(self, before: &[f32]) -> Vec<f32> {
        let _time = profile::kernel("activation, forward");
        let mut output = zeros(before.len());
        output.par_chunks_mut(CHUNK).zip(before.par_chunks(CHUNK)).for_each(|(output, before)| {
            output.copy_from_slice(before);
            activate(self.level, self.activation, output);
        });
        output
    }

    /// The gradient by what went into the activation, in the place of that.
    pub(crate) fn through_activation(self, gradient: &[f32], before: &mut [f32]) {
        let _time = profile::kernel("activation, backward");
        before
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .for_each(|(before, gradient)| differentiate(self.level, self.activation, gradient, before));
    }

    /// The gradient of the input, `[T, K]`, from that of one layer's product, `[T, N]`.
    pub(crate) fn of_input(self, gradient: View, weight: View, result: &mut [f32], mode: Output) {
        let _time = profile::product("linear, product", gradient.rows, gradient.columns, weight.columns);
        self.products().multiply(gradient, weight, result, mode);
    }

    /// The gradient of one layer's weight, `[N, K]`, from that of its product, `[T, N]`.
    pub(crate) fn of_weight(self, gradient: View, input: View, result: &mut [f32], mode: Output) {
        let _time = profile::product("linear, product", gradient.columns, gradient.rows, input.columns);
        self.products().multiply(gradient.transposed(), input, result, mode);
    }

    /// The gradient of one layer's bias, `[N]`, added to `result`.
    pub(crate) fn of_bias(self, gradient: View, result: &mut [f32]) {
        add_column_sums(self.level, gradient, result);
    }
}

#[derive(Debug, Clone, Copy)]
struct ProductShape {
    rows: usize,
    inner: usize,
    columns: usize,
}

struct Linear {
    layer: Layer,
    shape: ProductShape,
    /// Whether there will be a backward pass.
    tracked: bool,
    /// What went into the activation, `[T, N]`.
    before: Mutex<Vec<f32>>,
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ProductShape { rows, inner, columns } = self.shape;
        let input = View::new(values(self.name(), input, input_layout)?, rows, inner);
        let weight = View::new(values(self.name(), weight, weight_layout)?, columns, inner);
        let bias = values(self.name(), bias, bias_layout)?;
        let (output, before) = self.layer.forward(input, &[weight], bias, self.tracked);
        *lock(&self.before) = before;
        Ok((CpuStorage::F32(output), Shape::from((rows, columns))))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        with_values(gradient, |gradient| match self.layer.activation {
            Activation::Identity => self.gradients(input, weight, bias, gradient),
            _ => {
                let mut through = lock(&self.before).clone();
                self.layer.through_activation(gradient, &mut through);
                self.gradients(input, weight, bias, &through)
            }
        })
    }
}

impl Linear {
    /// The gradients of input, weight and bias from that of the product, `[T, N]`; only of what is trained.
    fn gradients(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        gradient: &[f32],
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ProductShape { rows, inner, columns } = self.shape;
        let gradient = View::new(gradient, rows, columns);
        let of_input = input.track_op().then(|| {
            with_values(weight, |weight| {
                let mut result = zeros(rows * inner);
                let weight = View::new(weight, columns, inner);
                self.layer.of_input(gradient, weight, &mut result, Output::Overwrite);
                to_tensor(result, input)
            })
        });
        let of_weight = with_values(input, |input| {
            let input = View::new(input, rows, inner);
            gradients::of_input(weight, |result, mode| self.layer.of_weight(gradient, input, result, mode))
        })?;
        let of_bias = gradients::of_input(bias, |result, _| self.layer.of_bias(gradient, result))?;
        Ok((of_input.transpose()?, of_weight, of_bias))
    }
}

/// Adds the rows of a matrix to `sums`, in their order.
fn add_column_sums(level: Level, matrix: View, sums: &mut [f32]) {
    let _time = profile::kernel("bias gradient");
    sums.par_chunks_mut(COLUMNS).enumerate().for_each(|(task, sums)| {
        add_columns(level, matrix, task * COLUMNS, sums);
    });
}

dispatch! {
    fn add_columns(matrix: View, first: usize, sums: &mut [f32]) {
        for row in 0..matrix.rows {
            let values = &matrix.values[row * matrix.row_stride + first..][..sums.len()];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
    }
}
