//! One head of one sentence: the loops of attention.

use crate::dropout::DropoutMasks;
use crate::math::{dot, exp, largest, sum};
use crate::simd::{Level, dispatch};
use crate::small_products::{Left, multiply_small, padded};

/// One head of one sentence.
pub(super) struct Head<'a> {
    pub(super) level: Level,
    /// Tokens `L` of the sentence.
    pub(super) length: usize,
    /// The first so many of them ask.
    pub(super) queries: usize,
    pub(super) hidden_size: usize,
    pub(super) head_size: usize,
    pub(super) head: usize,
    pub(super) masks: Option<(&'a DropoutMasks, usize)>,
}

/// Buffers of one thread; rows are padded to whole register tiles.
#[derive(Default)]
pub(super) struct Scratch {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    gradients: Vec<f32>,
    transposed: Vec<f32>,
    probabilities: Vec<f32>,
    masked: Vec<f32>,
    slopes: Vec<f32>,
    product: Vec<f32>,
}

impl Head<'_> {
    /// The scale of the logits, 1 / √(head size).
    #[inline(always)]
    fn scale(&self) -> f32 {
        1.0 / (self.head_size as f32).sqrt()
    }

    /// Copies this head's columns of part `part` (of `rows` rows of `stride` values) to padded rows, with rows of zeros up to
    /// a whole number of fours.
    #[inline(always)]
    fn gather(&self, source: &[f32], rows: usize, stride: usize, part: usize, target: &mut Vec<f32>) {
        let width = padded(self.head_size);
        let first = part * self.hidden_size + self.head * self.head_size;
        target.clear();
        target.resize(rows.next_multiple_of(4) * width, 0.0);
        for (row, target) in source.chunks_exact(stride).take(rows).zip(target.chunks_exact_mut(width)) {
            target[..self.head_size].copy_from_slice(&row[first..first + self.head_size]);
        }
    }

    /// Writes padded rows, times `factor`, into this head's columns of part `part`.
    #[inline(always)]
    fn scatter(&self, source: &[f32], factor: f32, stride: usize, part: usize, target: &mut [f32]) {
        let width = padded(self.head_size);
        let first = part * self.hidden_size + self.head * self.head_size;
        for (row, source) in target.chunks_exact_mut(stride).zip(source.chunks_exact(width)) {
            let row = &mut row[first..first + self.head_size];
            row.iter_mut().zip(source).for_each(|(target, value)| *target = value * factor);
        }
    }

    /// Padded rows `[L, d]` turned into `[d, L]`, its rows padded: four by four values, which become shuffles of registers.
    #[inline(always)]
    fn transpose(&self, source: &[f32], target: &mut Vec<f32>) {
        let (width, length) = (padded(self.head_size), padded(self.length));
        target.clear();
        target.resize(width * length, 0.0);
        for (block, rows) in source.chunks_exact(4 * width).enumerate() {
            let (a, rest) = rows.split_at(width);
            let (b, rest) = rest.split_at(width);
            let (c, d) = rest.split_at(width);
            let columns = a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0);
            let columns = columns.zip(c.as_chunks::<4>().0.iter().zip(d.as_chunks::<4>().0));
            for (((a, b), (c, d)), target) in columns.zip(target.chunks_exact_mut(4 * length)) {
                for (i, line) in target.chunks_exact_mut(length).enumerate() {
                    line[4 * block..4 * block + 4].copy_from_slice(&[a[i], b[i], c[i], d[i]]);
                }
            }
        }
    }

    /// `rows · transposedᵀ`: `[Q, d]` × `[d, L]` → `[Q, L]`, rows padded.
    #[inline(always)]
    fn compare(&self, rows: &[f32], transposed: &[f32], output: &mut Vec<f32>) {
        let length = padded(self.length);
        output.clear();
        output.resize(self.queries * length, 0.0);
        let left = Left { values: rows, row_stride: padded(self.head_size), column_stride: 1 };
        multiply_small((self.queries, self.head_size, length), left, transposed, output);
    }

    /// Sums of `rows` `[L, d]` under the weights `[Q, L]`: `[Q, d]`; or of `rows` `[Q, d]` under their transpose: `[L, d]`.
    #[inline(always)]
    fn combine(&self, weights: &[f32], is_transposed: bool, rows: &[f32], output: &mut Vec<f32>) {
        let (width, length) = (padded(self.head_size), padded(self.length));
        output.clear();
        let (outputs, terms, row_stride, column_stride) = if is_transposed {
            (self.length, self.queries, 1, length)
        } else {
            (self.queries, self.length, length, 1)
        };
        output.resize(outputs * width, 0.0);
        let left = Left { values: weights, row_stride, column_stride };
        multiply_small((outputs, terms, width), left, rows, output);
    }

    /// Softmax of the scaled logits over the keys, in place; the padding becomes 0.
    ///
    /// Works on whole padded rows: most sentences have fewer tokens than a register has lanes, and would be left to the
    /// scalar rest of every loop.
    #[inline(always)]
    fn softmax(&self, logits: &mut [f32]) {
        let scale = self.scale();
        for row in logits.chunks_exact_mut(padded(self.length)) {
            row[self.length..].fill(f32::NEG_INFINITY);
            let largest = largest(row);
            row.iter_mut().for_each(|value| *value = exp((*value - largest) * scale));
            row[self.length..].fill(0.0);
            let inverse = 1.0 / sum(row, |value| value);
            row.iter_mut().for_each(|value| *value *= inverse);
        }
    }

    /// Multiplies probabilities, or their gradient, by the dropout mask. Padding, which is 0, stays 0.
    #[inline(always)]
    fn mask(&self, values: &mut [f32]) {
        let Some((masks, sentence)) = self.masks else { return };
        for (query, row) in values.chunks_exact_mut(padded(self.length)).enumerate() {
            let first = (self.head * self.length + query) * self.length;
            masks.apply(self.level, sentence, first as u32, row);
        }
    }
}

dispatch! {
    /// One head of one sentence: `projected` `[L, 3H]` → its columns of `output` `[L, H]`.
    fn attend(head: &Head, projected: &[f32], scratch: &mut Scratch, output: &mut [f32]) {
        let stride = 3 * head.hidden_size;
        head.gather(projected, head.queries, stride, 0, &mut scratch.queries);
        head.gather(projected, head.length, stride, 1, &mut scratch.keys);
        head.gather(projected, head.length, stride, 2, &mut scratch.values);
        head.transpose(&scratch.keys, &mut scratch.transposed);
        head.compare(&scratch.queries, &scratch.transposed, &mut scratch.probabilities);
        head.softmax(&mut scratch.probabilities);
        head.mask(&mut scratch.probabilities);
        head.combine(&scratch.probabilities, false, &scratch.values, &mut scratch.product);
        head.scatter(&scratch.product, 1.0, head.hidden_size, 0, output);
    }
}

dispatch! {
    /// One head of one sentence: its columns of the gradient of `projected`, `[L, 3H]`.
    fn differentiate(
        head: &Head,
        projected: &[f32],
        gradient: &[f32],
        scratch: &mut Scratch,
        result: &mut [f32],
    ) {
        let stride = 3 * head.hidden_size;
        head.gather(projected, head.queries, stride, 0, &mut scratch.queries);
        head.gather(projected, head.length, stride, 1, &mut scratch.keys);
        head.gather(projected, head.length, stride, 2, &mut scratch.values);
        head.gather(gradient, head.queries, head.hidden_size, 0, &mut scratch.gradients);
        head.transpose(&scratch.keys, &mut scratch.transposed);
        head.compare(&scratch.queries, &scratch.transposed, &mut scratch.probabilities);
        head.softmax(&mut scratch.probabilities);
        scratch.masked.clone_from(&scratch.probabilities);
        head.mask(&mut scratch.masked);
        head.combine(&scratch.masked, true, &scratch.gradients, &mut scratch.product);
        head.scatter(&scratch.product, 1.0, stride, 2, result);
        head.transpose(&scratch.values, &mut scratch.transposed);
        head.compare(&scratch.gradients, &scratch.transposed, &mut scratch.slopes);
        head.mask(&mut scratch.slopes);
        let length = padded(head.length);
        let rows = scratch.slopes.chunks_exact_mut(length).zip(scratch.probabilities.chunks_exact(length));
        for (slopes, probabilities) in rows {
            let mean = dot(slopes, probabilities);
            let pairs = slopes.iter_mut().zip(probabilities);
            pairs.for_each(|(slope, probability)| *slope = probability * (*slope - mean));
        }
        head.combine(&scratch.slopes, false, &scratch.keys, &mut scratch.product);
        head.scatter(&scratch.product, head.scale(), stride, 0, result);
        head.combine(&scratch.slopes, true, &scratch.queries, &mut scratch.product);
        head.scatter(&scratch.product, head.scale(), stride, 1, result);
    }
}
