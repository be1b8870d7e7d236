//! Filters of one width on plain numbers.

use rayon::prelude::*;

use super::FilterShape;
use crate::Segments;
use crate::products::{Output, Prepared, Products, Threads, View};
use crate::profile;
use crate::simd::{Level, Term, dispatch, gather_rows, scatter_row};
use crate::tensors::split_mut;

/// Tokens of a block in the forward pass: its products stay in the second-level cache.
const FORWARD_TOKENS: usize = 192;
/// Tokens of a block in the backward pass: their gradient stays in the second-level cache.
const BACKWARD_TOKENS: usize = 256;
/// Marks a map whose best window is not above zero, where ReLU passes no gradient.
const INACTIVE: i32 = i32::MIN;

/// Filters of one width on plain numbers.
pub(super) struct Convolution {
    pub(super) level: Level,
    pub(super) shape: FilterShape,
    pub(super) segments: Segments,
}

impl Convolution {
    /// Maxima and winners, `[S, M]`.
    pub(super) fn forward(&self, tokens: &[f32], weight: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<i32>) {
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
    pub(super) fn add_token_gradient(
        &self,
        weight: &[f32],
        winners: &[i32],
        gradient: &[f32],
        result: &mut [f32],
    ) {
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
    pub(super) fn add_weight_gradient(
        &self,
        tokens: &[f32],
        winners: &[i32],
        gradient: &[f32],
        result: &mut [f32],
    ) {
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
    pub(super) fn add_bias_gradient(&self, winners: &[i32], gradient: &[f32], result: &mut [f32]) {
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
