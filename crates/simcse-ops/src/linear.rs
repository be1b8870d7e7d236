//! Linear layer with bias and activation as one op.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::math::{normal_distribution, tanh};
use crate::gradients;
use crate::products::{Output, Products, Threads, View};
use crate::profile;
use crate::simd::{Level, dispatch};
use crate::tensors::{lock, to_tensor, values, with_values};

/// Elements of one parallel task of the element-wise passes.
const CHUNK: usize = 1 << 14;
/// Columns of one parallel task of the bias gradient.
const COLUMNS: usize = 256;

/// What follows a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// x Φ(x) with the exact normal distribution function (Hendrycks and Gimpel 2016); `gelu` of transformers.
    Gelu,
    /// Its tanh approximation; `gelu_new` and `gelu_pytorch_tanh` of transformers.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// tanh(x).
    Tanh,
}

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
    let keeps = tracked && activation != Activation::Identity;
    let shape = ProductShape { rows, inner, columns };
    let op = Linear { level, shape, activation, precision, keeps, before: Mutex::new(Vec::new()) };
    input.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

#[derive(Debug, Clone, Copy)]
struct ProductShape {
    rows: usize,
    inner: usize,
    columns: usize,
}

struct Linear {
    level: Level,
    shape: ProductShape,
    activation: Activation,
    precision: Precision,
    /// Whether there will be a backward pass that needs `before`.
    keeps: bool,
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
        let mut output = vec![0.0; rows * columns];
        self.multiply(input, weight.transposed(), &mut output, Output::AddRow(bias));
        if self.keeps {
            lock(&self.before).clone_from(&output);
        }
        if self.activation != Activation::Identity {
            let _time = profile::kernel("activation, forward");
            output.par_chunks_mut(CHUNK).for_each(|chunk| activate(self.level, self.activation, chunk));
        }
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
        with_values(gradient, |gradient| match self.activation {
            Activation::Identity => self.gradients(input, weight, bias, gradient),
            activation => {
                let time = profile::kernel("activation, backward");
                let mut through = lock(&self.before).clone();
                through
                    .par_chunks_mut(CHUNK)
                    .zip(gradient.par_chunks(CHUNK))
                    .for_each(|(before, gradient)| differentiate(self.level, activation, gradient, before));
                drop(time);
                self.gradients(input, weight, bias, &through)
            }
        })
    }
}

impl Linear {
    fn multiply(&self, left: View, right: View, output: &mut [f32], mode: Output) {
        let _time = profile::product("linear, product", left.rows, left.columns, right.columns);
        let products = Products { level: self.level, precision: self.precision, threads: Threads::All };
        products.multiply(left, right, output, mode);
    }

    /// The gradients of input, weight and bias from that of the product, `[T, N]`; only of what is trained.
    fn gradients(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        gradient: &[f32],
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ProductShape { rows, inner, columns } = self.shape;
        let product = View::new(gradient, rows, columns);
        let of_input = input.track_op().then(|| {
            with_values(weight, |weight| {
                let mut result = vec![0.0; rows * inner];
                let weight = View::new(weight, columns, inner);
                self.multiply(product, weight, &mut result, Output::Overwrite);
                to_tensor(result, input)
            })
        });
        let of_weight = with_values(input, |input| {
            let input = View::new(input, rows, inner);
            gradients::of_input(weight, |result, mode| {
                self.multiply(product.transposed(), input, result, mode);
            })
        })?;
        let of_bias = gradients::of_input(bias, |result, _| {
            add_column_sums(self.level, gradient, columns, result);
        })?;
        Ok((of_input.transpose()?, of_weight, of_bias))
    }
}

/// Adds the rows of a row-major matrix to `sums`, in their order.
fn add_column_sums(level: Level, matrix: &[f32], columns: usize, sums: &mut [f32]) {
    let _time = profile::kernel("bias gradient");
    sums.par_chunks_mut(COLUMNS).enumerate().for_each(|(task, sums)| {
        add_columns(level, matrix, columns, task * COLUMNS, sums);
    });
}

dispatch! {
    fn add_columns(matrix: &[f32], columns: usize, first: usize, sums: &mut [f32]) {
        for row in matrix.chunks_exact(columns) {
            for (sum, value) in sums.iter_mut().zip(&row[first..]) {
                *sum += value;
            }
        }
    }
}

/// √(2/π), of the tanh approximation.
const TANH_SCALE: f32 = 0.797_884_6;
/// The cubic term of the tanh approximation.
const TANH_CUBE: f32 = 0.044_715;
/// 1 / √(2π), the height of the normal density.
const DENSITY: f32 = 0.398_942_3;

dispatch! {
    fn activate(activation: Activation, values: &mut [f32]) {
        match activation {
            Activation::Identity => {}
            Activation::Gelu => values.iter_mut().for_each(|x| *x *= normal_distribution(*x).0),
            Activation::GeluTanh => values.iter_mut().for_each(|x| {
                *x *= 0.5 * (1.0 + tanh(TANH_SCALE * (*x + TANH_CUBE * *x * *x * *x)));
            }),
            Activation::Relu => values.iter_mut().for_each(|x| *x = if *x > 0.0 { *x } else { 0.0 }),
            Activation::Tanh => values.iter_mut().for_each(|x| *x = tanh(*x)),
        }
    }
}

dispatch! {
    /// Replaces what went into the activation by `gradient` times the derivative there.
    fn differentiate(activation: Activation, gradient: &[f32], before: &mut [f32]) {
        let pairs = before.iter_mut().zip(gradient);
        match activation {
            Activation::Identity => pairs.for_each(|(x, gradient)| *x = *gradient),
            Activation::Gelu => pairs.for_each(|(x, gradient)| {
                let (distribution, bell) = normal_distribution(*x);
                *x = gradient * (distribution + *x * DENSITY * bell);
            }),
            Activation::GeluTanh => pairs.for_each(|(x, gradient)| {
                let inner = tanh(TANH_SCALE * (*x + TANH_CUBE * *x * *x * *x));
                let slope = TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * *x * *x);
                *x = gradient * 0.5 * (1.0 + inner + *x * (1.0 - inner * inner) * slope);
            }),
            Activation::Relu => pairs.for_each(|(x, gradient)| *x = if *x > 0.0 { *gradient } else { 0.0 }),
            Activation::Tanh => pairs.for_each(|(x, gradient)| {
                let inner = tanh(*x);
                *x = gradient * (1.0 - inner * inner);
            }),
        }
    }
}
