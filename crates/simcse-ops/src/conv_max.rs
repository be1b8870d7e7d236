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

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::Segments;
use crate::products::{Output, Products, Threads, View};
use crate::profile;
use crate::simd::{Level, Term, dispatch, gather_rows, scatter_row};
use crate::tensors::{lock, split_mut, to_tensor, values, with_values};

/// Tokens of a block in the forward pass: its products stay in the second-level cache.
const FORWARD_TOKENS: usize = 192;
/// Tokens of a block in the backward pass: their gradient stays in the second-level cache.
const BACKWARD_TOKENS: usize = 256;
/// Marks a map whose best window is not above zero, where ReLU passes no gradient.
const INACTIVE: i32 = i32::MIN;

/// Convolution + ReLU + max over time.
///
/// * `tokens`: `[T, E]`, the sentences end to end as `segments` says;
/// * `weight`: `[w, M, E]`, tap by tap (`weight[j][m]` meets token `p + j` of window `p`; PyTorch's
///   `Conv1d.weight` is `[M, E, w]`);
/// * `bias`: `[M]`.
///
/// Returns `[S, M]`. An empty sentence gives zeros and no gradient. Where several windows tie for the
/// maximum, the first takes the whole gradient (as `max_pool1d` does in PyTorch). Fails when the shapes
/// do not fit together or the tensors are not contiguous float32 on the CPU.
pub fn conv_relu_max(tokens: &Tensor, weight: &Tensor, bias: &Tensor, segments: &Segments) -> Result<Tensor> {
    conv_relu_max_at(Level::current(), tokens, weight, bias, segments)
}

/// [`conv_relu_max`] at a chosen SIMD level.
pub fn conv_relu_max_at(
    level: Level,
    tokens: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    segments: &Segments,
) -> Result<Tensor> {
    let (token_count, embedding_size) = tokens.dims2()?;
    let (width, maps, weight_embedding_size) = weight.dims3()?;
    if width == 0 || maps == 0 || embedding_size != weight_embedding_size || bias.dims() != [maps] {
        bail!(
            "convolution: tokens {:?}, weight {:?} and bias {:?} do not fit together",
            tokens.dims(),
            weight.dims(),
            bias.dims()
        );
    }
    if segments.tokens() != token_count {
        bail!("convolution: the segments hold {} tokens, the input {token_count}", segments.tokens());
    }
    let shape = FilterShape { width, maps, embedding_size };
    let op = ConvReluMax { level, shape, segments: segments.clone(), winners: Mutex::new(Vec::new()) };
    tokens.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

#[derive(Debug, Clone, Copy)]
struct FilterShape {
    width: usize,
    maps: usize,
    embedding_size: usize,
}

struct ConvReluMax {
    level: Level,
    shape: FilterShape,
    segments: Segments,
    /// First token of the winning window of every sentence and map, `[S, M]`, relative to the sentence.
    winners: Mutex<Vec<i32>>,
}

impl CustomOp3 for ConvReluMax {
    fn name(&self) -> &'static str {
        "conv-relu-max"
    }

    fn cpu_fwd(
        &self,
        tokens: &CpuStorage,
        tokens_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let FilterShape { width, embedding_size, .. } = self.shape;
        let windows = self.segments.tokens();
        let _time =
            profile::product("convolution, forward", windows, width * embedding_size, self.shape.maps);
        let tokens = values(self.name(), tokens, tokens_layout)?;
        let weight = values(self.name(), weight, weight_layout)?;
        let bias = values(self.name(), bias, bias_layout)?;
        let (sentences, maps) = (self.segments.len(), self.shape.maps);
        let mut output = vec![0.0; sentences * maps];
        let mut winners = vec![INACTIVE; sentences * maps];
        let blocks = self.segments.blocks(FORWARD_TOKENS);
        let sizes = || blocks.iter().map(|block| block.len() * maps);
        split_mut(&mut output, sizes())
            .into_par_iter()
            .zip(split_mut(&mut winners, sizes()))
            .zip(&blocks)
            .for_each(|((output, winners), block)| {
                self.forward_block(tokens, weight, bias, block, output, winners)
            });
        *lock(&self.winners) = winners;
        Ok((CpuStorage::F32(output), Shape::from((sentences, maps))))
    }

    fn bwd(
        &self,
        tokens: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let _time = profile::kernel("convolution, backward");
        let winners = lock(&self.winners);
        with_values(gradient, |gradient| {
            let weight_gradient =
                with_values(tokens, |tokens| Ok(self.weight_gradient(tokens, &winners, gradient)))?;
            let token_gradient =
                with_values(weight, |weight| Ok(self.token_gradient(weight, &winners, gradient)))?;
            Ok((
                Some(to_tensor(token_gradient, tokens)?),
                Some(to_tensor(weight_gradient, weight)?),
                Some(to_tensor(self.bias_gradient(&winners, gradient), bias)?),
            ))
        })
    }
}

impl ConvReluMax {
    fn forward_block(
        &self,
        tokens: &[f32],
        weight: &[f32],
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
        let taps = View::new(weight, columns, embedding_size).transposed();
        Products::of_floats(self.level, Threads::One).multiply(tokens, taps, &mut products, Output::Overwrite);
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
    fn token_gradient(&self, weight: &[f32], winners: &[i32], gradient: &[f32]) -> Vec<f32> {
        let FilterShape { width, maps, embedding_size } = self.shape;
        let mut result = vec![0.0; self.segments.tokens() * embedding_size];
        let blocks = self.segments.blocks(BACKWARD_TOKENS);
        let first = |block: &std::ops::Range<usize>| self.segments.range(block.start).start;
        let last = |block: &std::ops::Range<usize>| self.segments.range(block.end - 1).end;
        let sizes = blocks.iter().map(|block| (last(block) - first(block)) * embedding_size);
        split_mut(&mut result, sizes).into_par_iter().zip(&blocks).for_each(|(target, block)| {
            let mut terms = Vec::new();
            for tap in 0..width {
                for map in 0..maps {
                    let start = (tap * maps + map) * embedding_size;
                    self.terms((tap, map), block, first(block), winners, gradient, &mut terms);
                    scatter_row(self.level, &terms, &weight[start..start + embedding_size], target);
                }
            }
        });
        result
    }

    /// `[w, M, E]`: parallel over groups of maps; within each, blocks of sentences in order.
    fn weight_gradient(&self, tokens: &[f32], winners: &[i32], gradient: &[f32]) -> Vec<f32> {
        const MAPS_OF_A_TASK: usize = 32;
        let FilterShape { width, maps, embedding_size } = self.shape;
        let mut result = vec![0.0; width * maps * embedding_size];
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
        result
    }

    /// `[M]`.
    fn bias_gradient(&self, winners: &[i32], gradient: &[f32]) -> Vec<f32> {
        let maps = self.shape.maps;
        let mut result = vec![0.0; maps];
        for (winners, gradient) in winners.chunks(maps).zip(gradient.chunks(maps)) {
            for ((sum, &winner), &value) in result.iter_mut().zip(winners).zip(gradient) {
                if winner != INACTIVE {
                    *sum += value;
                }
            }
        }
        result
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
