//! The AdamW update in place (Loshchilov and Hutter 2019, algorithm 2; the order of operations of
//! PyTorch's `torch.optim.AdamW`).

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use crate::profile;
use crate::simd::{Level, dispatch};
use crate::tensors::{values, with_values};

/// Elements of one parallel task.
const CHUNK: usize = 1 << 15;

/// The constants of one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
    /// Number of this update, from 1: the bias correction.
    pub step: u64,
    /// The gradient is multiplied by this first: clipping by the global norm.
    pub gradient_scale: f64,
}

/// Updates `parameter` and its moments in place. `first` and `second` have the parameter's number of
/// elements. Fails when the sizes differ or a tensor is not contiguous float32 on the CPU.
pub fn adamw(
    parameter: &Tensor,
    gradient: &Tensor,
    first: &mut [f32],
    second: &mut [f32],
    step: AdamWStep,
) -> Result<()> {
    let count = parameter.elem_count();
    if gradient.elem_count() != count || first.len() != count || second.len() != count {
        bail!("AdamW: {count} parameters, {} gradients, {} moments", gradient.elem_count(), first.len());
    }
    let moments = Mutex::new((first, second));
    let op = AdamW { rows: None, size: CHUNK, moments, constants: Constants::new(step) };
    parameter.inplace_op2(&gradient.contiguous()?, &op)
}

/// Updates some rows of a table `[C, D]` and their moments in place; all others are not looked at. `rows` rise, and row
/// `i` of `gradient` `[R, D]` is that of `rows[i]`.
///
/// The lazy form of AdamW (as `torch.optim.SparseAdam`): moments of a row decay, and its weights, only when it is
/// touched, while the bias correction counts all steps. Fails as [`adamw`], and on rows that do not rise or lie
/// outside of the table.
pub fn adamw_rows(
    table: &Tensor,
    rows: &[u32],
    gradient: &Tensor,
    first: &mut [f32],
    second: &mut [f32],
    step: AdamWStep,
) -> Result<()> {
    let (classes, size) = table.dims2()?;
    let rise = rows.windows(2).all(|pair| pair[0] < pair[1]);
    if !rise || rows.last().is_some_and(|last| *last as usize >= classes) {
        bail!("AdamW: rows must rise and lie below {classes}");
    }
    if gradient.dims() != [rows.len(), size] || first.len() != classes * size || second.len() != first.len() {
        bail!(
            "AdamW: {} rows of {size}, gradient {:?}, {} moments",
            rows.len(),
            gradient.dims(),
            first.len()
        );
    }
    let moments = Mutex::new((first, second));
    let op = AdamW { rows: Some(rows), size, moments, constants: Constants::new(step) };
    table.inplace_op2(&gradient.contiguous()?, &op)
}

/// Sum of the squares of all values, in float64 and in one order on every machine: for the global norm.
pub fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let _time = profile::kernel("gradient norm");
    with_values(tensor, |values| {
        let parts: Vec<f64> = values
            .par_chunks(CHUNK)
            .map(|chunk| {
                let mut sum = 0.0;
                chunk_sum_of_squares(Level::current(), chunk, &mut sum);
                sum
            })
            .collect();
        Ok(parts.iter().sum())
    })
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

#[derive(Debug, Clone, Copy)]
pub(crate) struct Constants {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    decay: f32,
    step_size: f32,
    root_correction: f32,
    gradient_scale: f32,
}

impl Constants {
    fn new(step: AdamWStep) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step.step as f64);
        Self {
            beta1: step.beta1 as f32,
            beta2: step.beta2 as f32,
            epsilon: step.epsilon as f32,
            decay: (1.0 - step.learning_rate * step.weight_decay) as f32,
            step_size: (step.learning_rate / correction(step.beta1)) as f32,
            root_correction: (1.0 / correction(step.beta2).sqrt()) as f32,
            gradient_scale: step.gradient_scale as f32,
        }
    }
}

struct AdamW<'a> {
    /// What is updated: these rows of a table, or everything.
    rows: Option<&'a [u32]>,
    /// Values of a row, or of one parallel task.
    size: usize,
    moments: Mutex<(&'a mut [f32], &'a mut [f32])>,
    constants: Constants,
}

impl AdamW<'_> {
    fn pieces<'v>(&self, values: &'v mut [f32]) -> Vec<&'v mut [f32]> {
        match self.rows {
            Some(rows) => rows_of(values, rows, self.size),
            None => values.chunks_mut(self.size).collect(),
        }
    }
}

impl InplaceOp2 for AdamW<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let _time = profile::kernel("AdamW");
        let gradient = values(self.name(), gradient, gradient_layout)?;
        let CpuStorage::F32(parameter) = parameter else { bail!("AdamW: the parameter must be float32") };
        let Some((start, end)) = parameter_layout.contiguous_offsets() else {
            bail!("AdamW: the parameter must be contiguous")
        };
        let mut moments = self.moments.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (first, second) = &mut *moments;
        let level = Level::current();
        self.pieces(&mut parameter[start..end])
            .into_par_iter()
            .zip(gradient.par_chunks(self.size))
            .zip(self.pieces(first).into_par_iter().zip(self.pieces(second)))
            .for_each(|((parameter, gradient), (first, second))| {
                update(level, parameter, gradient, first, second, self.constants);
            });
        Ok(())
    }
}

/// The rows of a table whose numbers are given, which rise.
fn rows_of<'a>(mut table: &'a mut [f32], rows: &[u32], size: usize) -> Vec<&'a mut [f32]> {
    let mut taken = 0;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let (_, rest) = table.split_at_mut((*row as usize - taken) * size);
        let (here, rest) = rest.split_at_mut(size);
        found.push(here);
        (table, taken) = (rest, *row as usize + 1);
    }
    found
}

dispatch! {
    fn update(parameter: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], constants: Constants) {
        let Constants { beta1, beta2, epsilon, decay, step_size, root_correction, gradient_scale } = constants;
        let moments = first.chunks_mut(QUIET).zip(second.chunks_mut(QUIET));
        for ((parameter, gradient), (first, second)) in
            parameter.chunks_mut(QUIET).zip(gradient.chunks(QUIET)).zip(moments)
        {
            if decay == 1.0 && is_zero(gradient) && is_zero(first) && is_zero(second) {
                continue;
            }
            for (((parameter, gradient), first), second) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
                let gradient = gradient * gradient_scale;
                *first = beta1 * *first + (1.0 - beta1) * gradient;
                *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
                *parameter = *parameter * decay - step_size * *first / (second.sqrt() * root_correction + epsilon);
            }
        }
    }
}

/// Values that are left as they are together where nothing moves them: rows of a table of words that no batch has had.
const QUIET: usize = 128;

#[inline(always)]
fn is_zero(values: &[f32]) -> bool {
    // Only the sign may be set.
    values.first().is_none_or(|value| *value == 0.0)
        && values.iter().fold(0, |bits, value| bits | value.to_bits()) << 1 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// ```python
    /// import torch
    /// p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    /// o = torch.optim.AdamW([p], lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    /// for g in ([0.1, -0.2, 0.3, 0.0], [1.0, 0.5, -0.25, 0.0], [-0.3, 0.2, 0.1, 0.0]):
    ///     p.grad = torch.tensor(g); o.step(); print([f"{v:.7f}" for v in p.tolist()])
    /// ```
    #[test]
    fn three_steps_equal_pytorch() {
        let parameter = Var::new(&[1.0_f32, -2.0, 0.5, 3.0], &Device::Cpu).unwrap();
        let (mut first, mut second) = ([0.0; 4], [0.0; 4]);
        let gradients = [[0.1_f32, -0.2, 0.3, 0.0], [1.0, 0.5, -0.25, 0.0], [-0.3, 0.2, 0.1, 0.0]];
        for (number, (gradient, expected)) in gradients.iter().zip(GOLDEN).enumerate() {
            let constants = AdamWStep {
                learning_rate: 0.1,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.01,
                step: number as u64 + 1,
                gradient_scale: 0.5,
            };
            // Doubled gradients under a scale of one half: the scale must act before the moments.
            let gradient = Tensor::new(&gradient.map(|value| value * 2.0), &Device::Cpu).unwrap();
            adamw(parameter.as_tensor(), &gradient, &mut first, &mut second, constants).unwrap();
            let got = parameter.to_vec1::<f32>().unwrap();
            let near = got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6);
            assert!(near, "step {number}: {got:?}, PyTorch has {expected:?}");
        }
    }

    /// Words that no batch has had yet lie beside words that one has.
    #[test]
    fn values_that_nothing_moves_are_as_if_they_were_moved() {
        let count = 5 * QUIET + 3;
        let numbers = |seed| -> Vec<f32> {
            (0..count as u32).map(|i| simcse_random::uniform_bits(seed, i) as f32 / u32::MAX as f32).collect()
        };
        let quiet = |i: usize| (i / QUIET).is_multiple_of(2);
        let masked = |seed| -> Vec<f32> {
            numbers(seed).into_iter().enumerate().map(|(i, v)| if quiet(i) { 0.0 } else { v }).collect()
        };
        for weight_decay in [0.0, 0.5] {
            let constants = AdamWStep {
                learning_rate: 0.1,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay,
                step: 2,
                gradient_scale: 1.0,
            };
            let parameter = Tensor::new(numbers(1), &Device::Cpu).unwrap();
            let (mut first, mut second) = (masked(3), masked(4));
            second[0] = 1e-3;
            let (before, moments) = (numbers(1), (first.clone(), second.clone()));
            let gradient = Tensor::new(masked(2), &Device::Cpu).unwrap();
            adamw(&parameter, &gradient, &mut first, &mut second, constants).unwrap();
            let after = parameter.to_vec1::<f32>().unwrap();
            for i in 0..count {
                let alone = Tensor::new(&before[i..=i], &Device::Cpu).unwrap();
                let (mut first_alone, mut second_alone) = ([moments.0[i]], [moments.1[i]]);
                let gradient = gradient.narrow(0, i, 1).unwrap();
                adamw(&alone, &gradient, &mut first_alone, &mut second_alone, constants).unwrap();
                let alone = (alone.to_vec1::<f32>().unwrap()[0], first_alone[0], second_alone[0]);
                assert_eq!((after[i], first[i], second[i]), alone, "value {i}");
            }
            assert_eq!(after[1..QUIET] == before[1..QUIET], weight_decay == 0.0);
        }
    }

    /// Rows by themselves as parameters of their own; what is not named stays to the bit.
    #[test]
    fn rows_of_a_table_are_updated_as_tensors_of_their_own() {
        let numbers = |count: usize, seed| -> Vec<f32> {
            (0..count as u32).map(|i| simcse_random::uniform_bits(seed, i) as f32 / u32::MAX as f32).collect()
        };
        let (classes, size, rows) = (7, 5, [0_u32, 3, 6]);
        let constants = AdamWStep {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            step: 3,
            gradient_scale: 0.5,
        };
        let before = [1, 2, 3].map(|seed| numbers(classes * size, seed));
        let gradient =
            Tensor::from_vec(numbers(rows.len() * size, 4), (rows.len(), size), &Device::Cpu).unwrap();
        let table = Tensor::from_vec(before[0].clone(), (classes, size), &Device::Cpu).unwrap();
        let [_, mut first, mut second] = before.clone();
        adamw_rows(&table, &rows, &gradient, &mut first, &mut second, constants).unwrap();
        let table = table.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for class in 0..classes {
            let place = class * size..(class + 1) * size;
            let [parameter, mut first_alone, mut second_alone] =
                before.each_ref().map(|values| values[place.clone()].to_vec());
            let parameter = Tensor::new(parameter, &Device::Cpu).unwrap();
            if let Some(row) = rows.iter().position(|row| *row as usize == class) {
                let gradient = gradient.get(row).unwrap();
                adamw(&parameter, &gradient, &mut first_alone, &mut second_alone, constants).unwrap();
            }
            assert_eq!(table[place.clone()], parameter.to_vec1::<f32>().unwrap(), "class {class}");
            assert_eq!((&first[place.clone()], &second[place]), (&first_alone[..], &second_alone[..]));
        }
        let table = Tensor::zeros((2, 5), candle_core::DType::F32, &Device::Cpu).unwrap();
        let gradient = gradient.narrow(0, 0, 2).unwrap();
        for wrong in [[1, 0], [0, 2]] {
            assert!(
                adamw_rows(&table, &wrong, &gradient, &mut [0.0; 10], &mut [0.0; 10], constants).is_err()
            );
        }
    }

    const GOLDEN: [[f32; 4]; 3] = [
        [0.899, -1.898, 0.3995, 2.997],
        [0.817_392_2, -1.940_323_6, 0.395_288_3, 2.994_003],
        [0.775_076_9, -1.992_677_7, 0.376_179_6, 2.991_009],
    ];
}
