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
use rayon::prelude::*;

use crate::Segments;
use crate::gradients;
use crate::products::{Output, Prepared, Products, Threads, View};
use crate::profile;
use crate::simd::{Level, Term, dispatch, gather_rows, scatter_row};
use crate::tensors::{lock, split_mut, to_tensor, values, with_all_values, with_values, zeros};

/// Tokens of a block in the forward pass: its products stay in the second-level cache.
const FORWARD_TOKENS: usize = 192;
/// Tokens of a block in the backward pass: their gradient stays in the second-level cache.
const BACKWARD_TOKENS: usize = 256;
/// Marks a map whose best window is not above zero, where ReLU passes no gradient.
const INACTIVE: i32 = i32::MIN;

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

/// Filters of one width on plain numbers.
struct Convolution {
    level: Level,
    shape: FilterShape,
    segments: Segments,
}

impl Convolution {
    /// Maxima and winners, `[S, M]`.
    fn forward(&self, tokens: &[f32], weight: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<i32>) {
        let FilterShape { width, maps, embedding_size } = self.shape;
        let windows = self.segments.tokens();
        let _time = profile::product("convolution, forward", windows, width * embedding_size, maps);
        let sentences = self.segments.len();
        let mut output = vec![0.0; sentences * maps];
        let mut winners = vec![INACTIVE; sentences * maps];
        let blocks = self.segments.blocks(FORWARD_TOKENS);
        let taps = View::new(weight, width * maps, embedding_size).transposed();
        let taps = Prepared::new(Products::of_floats(self.level, Threads::All), taps);
        let sizes = || blocks.iter().map(|block| block.len() * maps);
        split_mut(&mut output, sizes())
            .into_par_iter()
            .zip(split_mut(&mut winners, sizes()))
            .zip(&blocks)
            .for_each(|((output, winners), block)| {
                self.forward_block(tokens, &taps, bias, block, output, winners)
            });
        (output, winners)
    }

    fn forward_block(
        &self,
        tokens: &[f32],
        taps: &Prepared,
        bias: &[f32],
        block: &std::ops::Range<usize>,
        output: &mut [f32],
        winners: &mut [i32],
    ) {
        let FilterShape { width, maps, embedding_size } = self.shape;
        let first = self.segments.range(block.start).start;
        let last = self.segments.range(block.end - 1).end;
        let columns = width * maps;
        let mut products = vec![0.0; (last - first) * columns];
        let block_tokens = &tokens[first * embedding_size..last * embedding_size];
        let tokens = View::new(block_tokens, last - first, embedding_size);
        taps.multiply(tokens, &mut products, Output::Overwrite);
        for (row, sentence) in block.clone().enumerate() {
            let range = self.segments.range(sentence);
            let products = &products[(range.start - first) * columns..(range.end - first) * columns];
            let outputs = row * maps..(row + 1) * maps;
            max_over_windows(
                self.level,
                width,
                products,
                bias,
                &mut output[outputs.clone()],
                &mut winners[outputs],
            );
        }
    }

    /// The terms of tap `tap` of filter `map` over the sentences of a block: for each winning window, its
    /// gradient and the first element of the token under this tap, counted from token `first`.
    fn terms(
        &self,
        (tap, map): (usize, usize),
        block: &std::ops::Range<usize>,
        first: usize,
        winners: &[i32],
        gradient: &[f32],
        terms: &mut Vec<Term>,
    ) {
        let FilterShape { maps, embedding_size, .. } = self.shape;
        terms.clear();
        for sentence in block.clone() {
            let winner = winners[sentence * maps + map];
            let coefficient = gradient[sentence * maps + map];
            if winner == INACTIVE || coefficient == 0.0 {
                continue;
            }
            let range = self.segments.range(sentence);
            let token = range.start as i64 + i64::from(winner) + tap as i64;
            if (range.start as i64..range.end as i64).contains(&token) {
                terms.push(Term { coefficient, start: (token as usize - first) * embedding_size });
            }
        }
    }

    /// `[T, E]`: parallel over blocks of sentences, each with its own tokens.
    fn add_token_gradient(&self, weight: &[f32], winners: &[i32], gradient: &[f32], result: &mut [f32]) {
        let FilterShape { width, maps, embedding_size } = self.shape;
        let blocks = self.segments.blocks(BACKWARD_TOKENS);
        let first = |block: &std::ops::Range<usize>| self.segments.range(block.start).start;
        let last = |block: &std::ops::Range<usize>| self.segments.range(block.end - 1).end;
        let sizes = blocks.iter().map(|block| (last(block) - first(block)) * embedding_size);
        split_mut(result, sizes).into_par_iter().zip(&blocks).for_each(|(target, block)| {
            let mut terms = Vec::new();
            for tap in 0..width {
                for map in 0..maps {
                    let start = (tap * maps + map) * embedding_size;
                    self.terms((tap, map), block, first(block), winners, gradient, &mut terms);
                    scatter_row(self.level, &terms, &weight[start..start + embedding_size], target);
                }
            }
        });
    }

    /// `[w, M, E]`: parallel over groups of maps; within each, blocks of sentences in order.
    fn add_weight_gradient(&self, tokens: &[f32], winners: &[i32], gradient: &[f32], result: &mut [f32]) {
        const MAPS_OF_A_TASK: usize = 32;
        let FilterShape { maps, embedding_size, .. } = self.shape;
        let blocks = self.segments.blocks(BACKWARD_TOKENS);
        result.par_chunks_mut(MAPS_OF_A_TASK * embedding_size).enumerate().for_each(|(task, rows)| {
            let mut terms = Vec::new();
            for block in &blocks {
                for (index, row) in rows.chunks_mut(embedding_size).enumerate() {
                    let filter = task * MAPS_OF_A_TASK + index;
                    self.terms((filter / maps, filter % maps), block, 0, winners, gradient, &mut terms);
                    gather_rows(self.level, &terms, tokens, row);
                }
            }
        });
    }

    /// `[M]`.
    fn add_bias_gradient(&self, winners: &[i32], gradient: &[f32], result: &mut [f32]) {
        let maps = self.shape.maps;
        for (winners, gradient) in winners.chunks(maps).zip(gradient.chunks(maps)) {
            for ((sum, &winner), &value) in result.iter_mut().zip(winners).zip(gradient) {
                if winner != INACTIVE {
                    *sum += value;
                }
            }
        }
    }
}

dispatch! {
    /// Max over the windows of one sentence. `products`: `[n, w, M]`; `output`, `winners`: `[M]`.
    fn max_over_windows(width: usize, products: &[f32], bias: &[f32], output: &mut [f32], winners: &mut [i32]) {
        let maps = bias.len();
        let tokens = (products.len() / (width * maps)) as i32;
        if tokens == 0 {
            return;
        }
        // Rising above zero is what ReLU asks for, so the maximum starts there.
        let mut sums = vec![0.0_f32; maps];
        for window in 1 - width as i32..tokens {
            sums.copy_from_slice(bias);
            for tap in 0..width as i32 {
                let token = window + tap;
                if (0..tokens).contains(&token) {
                    let start = (token as usize * width + tap as usize) * maps;
                    for (sum, product) in sums.iter_mut().zip(&products[start..start + maps]) {
                        *sum += product;
                    }
                }
            }
            for ((best, winner), &sum) in output.iter_mut().zip(winners.iter_mut()).zip(&sums) {
                let better = sum > *best;
                *best = if better { sum } else { *best };
                *winner = if better { window } else { *winner };
            }
        }
        // A NaN never wins a comparison: let it through, so that the health checks see it.
        if products.iter().any(|product| product.is_nan()) || bias.iter().any(|bias| bias.is_nan()) {
            output.fill(f32::NAN);
        }
    }
}
