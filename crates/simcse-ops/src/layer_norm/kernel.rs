//! Layer normalisation on plain numbers.

use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;

use crate::Segments;
use crate::dropout::DropoutMasks;
use crate::math::{dot, sum};
use crate::profile;
use crate::simd::{Level, dispatch};
use crate::tensors::{lock, split_mut, zeros};

/// Tokens of one parallel task.
const TOKENS: usize = 128;

/// Layer normalisation on plain numbers.
pub(crate) struct LayerNorm {
    pub(crate) level: Level,
    pub(crate) size: usize,
    pub(crate) epsilon: f32,
    pub(crate) segments: Segments,
    pub(crate) input_masks: Option<DropoutMasks>,
    pub(crate) output_masks: Option<DropoutMasks>,
    /// Whether there will be a backward pass.
    pub(crate) keeps: bool,
    pub(crate) saved: Mutex<Saved>,
}

/// What the backward pass needs.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// Normalised values before weight and bias, `[T, H]`.
    normalised: Vec<f32>,
    /// 1 / √(variance + ε), `[T]`.
    inverse_deviation: Vec<f32>,
}

/// Gradients of one block: its share of the sums over tokens.
pub(crate) struct BlockSums {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl LayerNorm {
    fn blocks(&self) -> Vec<Range<usize>> {
        self.segments.blocks(TOKENS)
    }

    /// Elements of the tokens of each block.
    fn sizes<'a>(&'a self, blocks: &'a [Range<usize>], width: usize) -> impl Iterator<Item = usize> + 'a {
        blocks.iter().map(move |block| self.tokens(block).len() * width)
    }

    fn tokens(&self, block: &Range<usize>) -> Range<usize> {
        self.segments.range(block.start).start..self.segments.range(block.end - 1).end
    }

    /// The tokens of each block in a matrix `[T, H]` that may not be there.
    fn parts<'a>(
        &self,
        matrix: &'a mut Option<Vec<f32>>,
        blocks: &[Range<usize>],
    ) -> Vec<Option<&'a mut [f32]>> {
        match matrix {
            Some(values) => split_mut(values, self.sizes(blocks, self.size)).into_iter().map(Some).collect(),
            None => blocks.iter().map(|_| None).collect(),
        }
    }

    /// Multiplies the tokens of a block by their masks.
    fn mask(&self, masks: Option<&DropoutMasks>, block: &Range<usize>, values: &mut [f32]) {
        let Some(masks) = masks else { return };
        let lengths = block.clone().map(|sentence| self.segments.range(sentence).len() * self.size);
        for (sentence, values) in block.clone().zip(split_mut(values, lengths)) {
            masks.apply(self.level, sentence, 0, values);
        }
    }

    /// `affine` is weight and bias, `[2, H]`.
    pub(crate) fn forward(&self, input: &[f32], residual: Option<&[f32]>, affine: &[f32]) -> Vec<f32> {
        let _time = profile::kernel("layer norm, forward");
        let blocks = self.blocks();
        let mut output = zeros(input.len());
        let mut normalised = self.keeps.then(|| zeros(input.len()));
        let mut inverse_deviation = vec![0.0; self.segments.tokens()];
        let (weight, bias) = affine.split_at(self.size);
        split_mut(&mut output, self.sizes(&blocks, self.size))
            .into_par_iter()
            .zip(self.parts(&mut normalised, &blocks))
            .zip(split_mut(&mut inverse_deviation, self.sizes(&blocks, 1)))
            .zip(&blocks)
            .for_each_init(Vec::new, |scratch, (((output, kept), inverse_deviation), block)| {
                let tokens = self.tokens(block);
                let range = tokens.start * self.size..tokens.end * self.size;
                // Where nothing is kept, a block's sums stay in the cache of its thread.
                let normalised = match kept {
                    Some(kept) => kept,
                    None => {
                        scratch.resize(range.len(), 0.0);
                        scratch.as_mut_slice()
                    }
                };
                normalised.copy_from_slice(&input[range.clone()]);
                self.mask(self.input_masks.as_ref(), block, normalised);
                if let Some(residual) = residual {
                    normalised.iter_mut().zip(&residual[range]).for_each(|(sum, value)| *sum += value);
                }
                normalise(self.level, self.epsilon, weight, bias, normalised, inverse_deviation, output);
                self.mask(self.output_masks.as_ref(), block, output);
            });
        if let Some(normalised) = normalised {
            *lock(&self.saved) = Saved { normalised, inverse_deviation };
        }
        output
    }

    /// Gradients of the sum that was normalised, `[T, H]`, of the input before its dropout (if that differs),
    /// and of weight and bias, `[2, H]`; the first in the place of that of the output.
    pub(crate) fn backward(
        &self,
        affine: &[f32],
        gradient: Vec<f32>,
    ) -> (Vec<f32>, Option<Vec<f32>>, Vec<f32>) {
        let _time = profile::kernel("layer norm, backward");
        let blocks = self.blocks();
        let saved = lock(&self.saved);
        let mut of_sum = gradient;
        let mut of_input = self.input_masks.as_ref().map(|_| zeros(of_sum.len()));
        let sums: Vec<BlockSums> = split_mut(&mut of_sum, self.sizes(&blocks, self.size))
            .into_par_iter()
            .zip(self.parts(&mut of_input, &blocks))
            .zip(&blocks)
            .map(|((gradient, of_input), block)| {
                self.mask(self.output_masks.as_ref(), block, gradient);
                let tokens = self.tokens(block);
                let normalised = &saved.normalised[tokens.start * self.size..tokens.end * self.size];
                let inverse_deviation = &saved.inverse_deviation[tokens];
                let mut sums = BlockSums { weight: vec![0.0; self.size], bias: vec![0.0; self.size] };
                let weight = &affine[..self.size];
                differentiate(self.level, weight, normalised, inverse_deviation, gradient, &mut sums);
                if let Some(of_input) = of_input {
                    of_input.copy_from_slice(gradient);
                    self.mask(self.input_masks.as_ref(), block, of_input);
                }
                sums
            })
            .collect();
        let mut of_affine = vec![0.0; 2 * self.size];
        for block in sums {
            let values = block.weight.iter().chain(&block.bias);
            of_affine.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        (of_sum, of_input, of_affine)
    }
}

dispatch! {
    /// `sums` `[t, H]` become normalised values; `output = normalised · weight + bias`.
    fn normalise(
        epsilon: f32,
        weight: &[f32],
        bias: &[f32],
        sums: &mut [f32],
        inverse_deviation: &mut [f32],
        output: &mut [f32],
    ) {
        let size = weight.len();
        let tokens = sums.chunks_exact_mut(size).zip(output.chunks_exact_mut(size)).zip(inverse_deviation);
        for ((values, output), inverse) in tokens {
            let mean = sum(values, |value| value) / size as f32;
            let variance = sum(values, |value| (value - mean) * (value - mean)) / size as f32;
            *inverse = 1.0 / (variance + epsilon).sqrt();
            let affine = weight.iter().zip(bias);
            for ((value, output), (weight, bias)) in values.iter_mut().zip(output).zip(affine) {
                *value = (*value - mean) * *inverse;
                *output = *value * weight + bias;
            }
        }
    }
}

dispatch! {
    /// `gradient` `[t, H]` of the output becomes that of the normalised sum; adds to the sums over tokens.
    fn differentiate(
        weight: &[f32],
        normalised: &[f32],
        inverse_deviation: &[f32],
        gradient: &mut [f32],
        sums: &mut BlockSums,
    ) {
        let size = weight.len();
        let tokens = gradient.chunks_exact_mut(size).zip(normalised.chunks_exact(size)).zip(inverse_deviation);
        for ((gradient, normalised), inverse) in tokens {
            let of_affine = sums.weight.iter_mut().zip(sums.bias.iter_mut());
            let pairs = gradient.iter_mut().zip(normalised.iter().zip(weight));
            for ((gradient, (normalised, weight)), (of_weight, of_bias)) in pairs.zip(of_affine) {
                *of_weight += *gradient * normalised;
                *of_bias += *gradient;
                *gradient *= weight;
            }
            let mean = sum(gradient, |value| value) / size as f32;
            let projection = dot(gradient, normalised) / size as f32;
            for (gradient, normalised) in gradient.iter_mut().zip(normalised) {
                *gradient = inverse * (*gradient - mean - normalised * projection);
            }
        }
    }
}
