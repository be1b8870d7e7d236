//! From the states of tokens to one vector for each sentence.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::Segments;
use crate::profile;
use crate::tensors::{split_mut, to_tensor, values, with_values};

/// How the states of a sentence become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The state of the first token.
    First,
    /// The mean over all tokens.
    Mean,
    /// The largest value of each element; the first of equal ones takes the gradient.
    Max,
}

/// One vector for each sentence: `[T, H]` → `[S, H]`. An empty sentence gives zeros.
///
/// Fails when the segments hold another number of tokens.
pub fn pool(states: &Tensor, segments: &Segments, reduction: Reduction) -> Result<Tensor> {
    let (tokens, size) = states.dims2()?;
    if segments.tokens() != tokens || size == 0 {
        bail!("pooling: the segments hold {} tokens, the states are {:?}", segments.tokens(), states.dims());
    }
    states.contiguous()?.apply_op1(Pool { segments: segments.clone(), reduction, size })
}

struct Pool {
    segments: Segments,
    reduction: Reduction,
    size: usize,
}

impl Pool {
    fn states<'a>(&self, sentence: usize, states: &'a [f32]) -> &'a [f32] {
        let range = self.segments.range(sentence);
        &states[range.start * self.size..range.end * self.size]
    }

    fn pool_sentence(&self, states: &[f32], output: &mut [f32]) {
        let Some(first) = states.get(..self.size) else { return };
        output.copy_from_slice(first);
        let others = states.chunks_exact(self.size).skip(1);
        match self.reduction {
            Reduction::First => {}
            Reduction::Mean => {
                others.for_each(|row| output.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
                let count = (states.len() / self.size) as f32;
                output.iter_mut().for_each(|sum| *sum /= count);
            }
            Reduction::Max => others.for_each(|row| {
                output.iter_mut().zip(row).for_each(|(best, value)| *best = larger(*best, *value));
            }),
        }
    }

    fn spread(&self, states: &[f32], gradient: &[f32], result: &mut [f32]) {
        let count = states.len() / self.size;
        if count == 0 {
            return;
        }
        match self.reduction {
            Reduction::First => result[..self.size].copy_from_slice(gradient),
            Reduction::Mean => result.chunks_exact_mut(self.size).for_each(|row| {
                row.iter_mut().zip(gradient).for_each(|(target, value)| *target = value / count as f32);
            }),
            Reduction::Max => {
                for (element, value) in gradient.iter().enumerate() {
                    let mut winner = element;
                    for place in (element..states.len()).step_by(self.size) {
                        winner = if states[place] > states[winner] { place } else { winner };
                    }
                    result[winner] = *value;
                }
            }
        }
    }
}

/// The larger one; NaN is let through, so that the health checks see it.
fn larger(best: f32, value: f32) -> f32 {
    if value > best || value.is_nan() { value } else { best }
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "pooling"
    }

    fn cpu_fwd(&self, states: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let _time = profile::kernel("pooling, forward");
        let states = values(self.name(), states, layout)?;
        let mut output = vec![0.0; self.segments.len() * self.size];
        output.par_chunks_mut(self.size).enumerate().for_each(|(sentence, output)| {
            self.pool_sentence(self.states(sentence, states), output);
        });
        Ok((CpuStorage::F32(output), Shape::from((self.segments.len(), self.size))))
    }

    fn bwd(&self, states: &Tensor, _output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let _time = profile::kernel("pooling, backward");
        let mut result = vec![0.0; states.elem_count()];
        let sizes = (0..self.segments.len()).map(|sentence| self.segments.range(sentence).len() * self.size);
        let parts = split_mut(&mut result, sizes);
        with_values(states, |states| {
            with_values(gradient, |gradient| {
                parts.into_par_iter().zip(gradient.par_chunks(self.size)).enumerate().for_each(
                    |(sentence, (result, gradient))| {
                        self.spread(self.states(sentence, states), gradient, result);
                    },
                );
                Ok(())
            })
        })?;
        Ok(Some(to_tensor(result, states)?))
    }
}
