//! Convolution over time + ReLU + max over time as one op (Kim 2014, section 2, equations 2 to 4).
//!
//! For a sentence of `n` tokens and a filter of width `w` every window that covers at least one token
//! counts: window `p` runs from `p = 1 - w` to `n - 1` and sees zeros outside of the sentence (Kim's code
//! pads both sides in the same way). A sentence of one token thus works with any width, and no window
//! ever sees another sentence or a padding position of the batch.
//!
//! The forward pass multiplies each token once with every tap of every filter (one matrix product per
//! block of sentences) and then adds shifted rows: it does no work on padding and copies no windows. The
//! backward pass touches only the window that won each maximum: `w / n` of the work of a dense one.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::Segments;
use crate::gradients;
use crate::profile;
use crate::simd::Level;
use crate::tensors::{lock, to_tensor, values, with_all_values, with_values, zeros};

mod convolution;
use convolution::Convolution;

/// Convolution + ReLU + max over time, for filters of one width or of several.
///
/// * `tokens`: `[T, E]`, the sentences end to end as `segments` says;
/// * `filters`: for each width a weight `[w, M, E]`, tap by tap (`weight[j][m]` meets token `p + j` of window `p`;
///   PyTorch's `Conv1d.weight` is `[M, E, w]`), and a bias `[M]`.
///
/// Returns `[S, Σ M]`. An empty sentence gives zeros and no gradient. Where several windows tie for the
/// maximum, the first takes the whole gradient (as `max_pool1d` does in PyTorch). Gradients of the filters are
/// collected by [`crate::gradients::backward`], without which the backward pass fails. Fails when the shapes
/// do not fit together or the tensors are not contiguous float32 on the CPU.
pub fn conv_relu_max(tokens: &Tensor, filters: &[(&Tensor, &Tensor)], segments: &Segments) -> Result<Tensor> {
    conv_relu_max_at(Level::current(), tokens, filters, segments)
}

/// [`conv_relu_max`] at a chosen SIMD level.
pub fn conv_relu_max_at(
    level: Level,
    tokens: &Tensor,
    filters: &[(&Tensor, &Tensor)],
    segments: &Segments,
) -> Result<Tensor> {
    let (token_count, embedding_size) = tokens.dims2()?;
    if segments.tokens() != token_count || filters.is_empty() {
        bail!(
            "convolution: {} widths; the segments hold {} tokens, the input {token_count}",
            filters.len(),
            segments.tokens()
        );
    }
    let parts = filters.iter().map(|(weight, bias)| {
        let (width, maps, weight_embedding_size) = weight.dims3()?;
        if width == 0 || maps == 0 || embedding_size != weight_embedding_size || bias.dims() != [maps] {
            bail!(
                "convolution: tokens {:?}, weight {:?} and bias {:?} do not fit together",
                tokens.dims(),
                weight.dims(),
                bias.dims()
            );
        }
        let shape = FilterShape { width, maps, embedding_size };
        let kernel = Convolution { level, shape, segments: segments.clone() };
        Ok(Part { kernel, weight: (*weight).clone(), bias: (*bias).clone(), winners: Mutex::default() })
    });
    tokens.contiguous()?.apply_op1(ConvReluMax { parts: parts.collect::<Result<_>>()? })
}

#[derive(Debug, Clone, Copy)]
struct FilterShape {
    width: usize,
    maps: usize,
    embedding_size: usize,
}

/// The filters of all widths.
struct ConvReluMax {
    parts: Vec<Part>,
}

/// The filters of one width.
struct Part {
    kernel: Convolution,
    weight: Tensor,
    bias: Tensor,
    /// First token of the winning window of every sentence and map, `[S, M]`, relative to the sentence.
    winners: Mutex<Vec<i32>>,
}

impl CustomOp1 for ConvReluMax {
    fn name(&self) -> &'static str {
        "conv-relu-max"
    }

    fn cpu_fwd(&self, tokens: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let tokens = values(self.name(), tokens, layout)?;
        let outputs: Vec<Vec<f32>> = self
            .parts
            .iter()
            .map(|part| {
                let (output, winners) = with_all_values(&[&part.weight, &part.bias], |filters| {
                    Ok(part.kernel.forward(tokens, filters[0], filters[1]))
                })?;
                *lock(&part.winners) = winners;
                Ok(output)
            })
            .collect::<Result<_>>()?;
        let sentences = self.parts[0].kernel.segments.len();
        let rows = (0..sentences).flat_map(|sentence| {
            let parts = self.parts.iter().zip(&outputs);
            parts.flat_map(move |(part, output)| {
                let maps = part.kernel.shape.maps;
                output[sentence * maps..(sentence + 1) * maps].iter().copied()
            })
        });
        Ok((CpuStorage::F32(rows.collect()), Shape::from((sentences, self.columns()))))
    }

    fn bwd(&self, tokens: &Tensor, _output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let _time = profile::kernel("convolution, backward");
        with_values(gradient, |gradient| {
            let gradients: Vec<Vec<f32>> = self.parts_of(gradient);
            with_values(tokens, |tokens| self.filter_gradients(tokens, &gradients))?;
            let of_tokens = tokens.track_op().then(|| to_tensor(self.token_gradient(&gradients)?, tokens));
            of_tokens.transpose()
        })
    }
}

impl ConvReluMax {
    fn columns(&self) -> usize {
        self.parts.iter().map(|part| part.kernel.shape.maps).sum()
    }

    /// `[S, Σ M]` cut into `[S, M]` for each width.
    fn parts_of(&self, gradient: &[f32]) -> Vec<Vec<f32>> {
        let mut first = 0;
        let part = |part: &Part| {
            let columns = first..first + part.kernel.shape.maps;
            first = columns.end;
            gradient
                .chunks_exact(self.columns())
                .flat_map(|row| row[columns.clone()].iter().copied())
                .collect()
        };
        self.parts.iter().map(part).collect()
    }

    fn filter_gradients(&self, tokens: &[f32], gradients: &[Vec<f32>]) -> Result<()> {
        for (part, gradient) in self.parts.iter().zip(gradients) {
            let winners = lock(&part.winners);
            gradients::of_parameter(&part.weight, |result, _| {
                part.kernel.add_weight_gradient(tokens, &winners, gradient, result);
            })?;
            gradients::of_parameter(&part.bias, |result, _| {
                part.kernel.add_bias_gradient(&winners, gradient, result);
            })?;
        }
        Ok(())
    }

    /// `[T, E]`.
    fn token_gradient(&self, gradients: &[Vec<f32>]) -> Result<Vec<f32>> {
        let Convolution { segments, shape, .. } = &self.parts[0].kernel;
        let mut result = zeros(segments.tokens() * shape.embedding_size);
        for (part, gradient) in self.parts.iter().zip(gradients) {
            let winners = lock(&part.winners);
            with_values(&part.weight, |weight| {
                part.kernel.add_token_gradient(weight, &winners, gradient, &mut result);
                Ok(())
            })?;
        }
        Ok(result)
    }
}
