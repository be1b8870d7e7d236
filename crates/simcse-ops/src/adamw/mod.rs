//! The AdamW update in place (Loshchilov and Hutter 2019, algorithm 2; the order of operations of
//! PyTorch's `torch.optim.AdamW`).

#[cfg(test)]
mod tests;

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use crate::gradients::RowGradient;
use crate::profile;
use crate::simd::{Level, dispatch};
use crate::tensors::{lock, values_mut, with_values};

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

/// The moments of one parameter: two numbers for each of its values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moments {
    /// Running mean of the gradient.
    pub first: Vec<f32>,
    /// Running mean of its square.
    pub second: Vec<f32>,
}

impl Moments {
    /// Those of `count` values that have not been updated yet.
    pub fn zeros(count: usize) -> Self {
        Self { first: vec![0.0; count], second: vec![0.0; count] }
    }
}

/// Updates `parameter` and its moments in place. Fails when the sizes differ or a tensor is not contiguous float32 on
/// the CPU.
pub fn adamw(parameter: &Tensor, gradient: &Tensor, moments: &mut Moments, step: AdamWStep) -> Result<()> {
    check_moments(parameter, moments)?;
    if gradient.elem_count() != parameter.elem_count() {
        bail!("AdamW: {} parameters, {} gradients", parameter.elem_count(), gradient.elem_count());
    }
    with_values(gradient, |gradient| {
        let gradients = gradient.chunks(CHUNK).collect();
        parameter.inplace_op1(&Update {
            rows: None,
            size: CHUNK,
            gradients,
            moments: Mutex::new(moments),
            step,
        })
    })
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
    moments: &mut Moments,
    step: AdamWStep,
) -> Result<()> {
    check_moments(table, moments)?;
    let (classes, size) = table.dims2()?;
    let rise = rows.windows(2).all(|pair| pair[0] < pair[1]);
    if !rise || rows.last().is_some_and(|last| *last as usize >= classes) {
        bail!("AdamW: rows must rise and lie below {classes}");
    }
    if gradient.dims() != [rows.len(), size] {
        bail!("AdamW: {} rows of {size}, gradient {:?}", rows.len(), gradient.dims());
    }
    with_values(gradient, |gradient| {
        let gradients = gradient.chunks(size).collect();
        table.inplace_op1(&Update { rows: Some(rows), size, gradients, moments: Mutex::new(moments), step })
    })
}

/// Updates a table `[V, E]` by a gradient of few rows as [`adamw`] would by the whole one, bit for bit, in the time of the
/// rows that any step has had yet. Fails as [`adamw`].
pub fn adamw_table(
    table: &Tensor,
    gradient: &RowGradient,
    moments: &mut Moments,
    moved: &mut MovedRows,
    step: AdamWStep,
) -> Result<()> {
    check_moments(table, moments)?;
    gradient.check(table)?;
    let (rows, size) = table.dims2()?;
    // Weight decay moves every row.
    let moving =
        if step.weight_decay == 0.0 { moved.with(gradient.rows()) } else { (0..rows as u32).collect() };
    let zeros = vec![0.0; size];
    let mut given = gradient.rows().iter().zip(gradient.chunks()).peekable();
    let gradient_of =
        |row: &u32| given.next_if(|(number, _)| *number == row).map_or(&*zeros, |(_, values)| values);
    let gradients = moving.iter().map(gradient_of).collect();
    table.inplace_op1(&Update { rows: Some(&moving), size, gradients, moments: Mutex::new(moments), step })
}

/// Which rows of a table have had a gradient yet. The others have moments of 0, and stand still.
#[derive(Debug, Clone)]
pub struct MovedRows(Vec<bool>);

impl MovedRows {
    /// Those of a table `[V, E]` with these moments.
    pub fn of(moments: &Moments, size: usize) -> Self {
        let size = size.max(1);
        let is_zero = |values: &[f32]| values.iter().all(|value| *value == 0.0);
        let rows = moments.first.chunks(size).zip(moments.second.chunks(size));
        Self(rows.map(|(first, second)| !(is_zero(first) && is_zero(second))).collect())
    }

    /// Takes in `rows`; gives all so far, rising.
    fn with(&mut self, rows: &[u32]) -> Vec<u32> {
        rows.iter().for_each(|row| self.0[*row as usize] = true);
        (0..).zip(&self.0).filter_map(|(row, moved)| moved.then_some(row)).collect()
    }
}

pub(crate) fn check_moments(parameter: &Tensor, moments: &Moments) -> Result<()> {
    let count = parameter.elem_count();
    if moments.first.len() != count || moments.second.len() != count {
        bail!("AdamW: {count} parameters, {} and {} moments", moments.first.len(), moments.second.len());
    }
    Ok(())
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
    pub(crate) fn new(step: AdamWStep) -> Self {
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

struct Update<'a> {
    /// What is updated: these rows of a table, or everything.
    rows: Option<&'a [u32]>,
    /// Values of a row, or of one parallel task.
    size: usize,
    /// One of each row or task.
    gradients: Vec<&'a [f32]>,
    moments: Mutex<&'a mut Moments>,
    step: AdamWStep,
}

impl Update<'_> {
    fn pieces<'v>(&self, values: &'v mut [f32]) -> Vec<&'v mut [f32]> {
        match self.rows {
            Some(rows) => rows_of(values, rows, self.size),
            None => values.chunks_mut(self.size).collect(),
        }
    }
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, parameter: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let _time = profile::kernel("AdamW");
        let parameter = values_mut(self.name(), parameter, layout)?;
        let mut moments = lock(&self.moments);
        let Moments { first, second } = &mut **moments;
        let (level, constants) = (Level::current(), Constants::new(self.step));
        self.pieces(parameter)
            .into_par_iter()
            .zip(&self.gradients)
            .zip(self.pieces(first).into_par_iter().zip(self.pieces(second)))
            .for_each(|((parameter, gradient), (first, second))| {
                update(level, parameter, gradient, first, second, constants);
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
        for (((parameter, gradient), first), second) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
            let gradient = gradient * gradient_scale;
            *first = beta1 * *first + (1.0 - beta1) * gradient;
            *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
            *parameter = *parameter * decay - step_size * *first / (second.sqrt() * root_correction + epsilon);
        }
    }
}
