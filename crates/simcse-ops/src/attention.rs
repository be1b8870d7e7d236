//! Ragged multi-head self-attention with softmax and dropout inside (Vaswani et al. 2017, equation 1).
//!
//! Each sentence attends to itself alone: no padding, no mask of positions. Nothing of size tokens × tokens leaves
//! the cache of one sentence and head; the backward pass computes the probabilities again.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::Segments;
use crate::dropout::DropoutMasks;
use crate::math::{dot, exp, largest, sum};
use crate::profile;
use crate::simd::{Level, dispatch};
use crate::small_products::{Left, multiply_small, padded};
use crate::tensors::{split_mut, to_tensor, values, with_values, zeros};

/// Tokens of one parallel task.
const TOKENS: usize = 64;

/// `softmax(q kᵀ / √(H / heads)) v` of every sentence and head, dropout on the probabilities where `masks` are
/// given: `[T, 3H]` → `[T, H]`.
///
/// `projected` holds queries in its first `H` columns, then keys, then values; the columns of head `n` begin at
/// `n · H / heads` of each. The mask position of the probability of query `i` and key `j` of a sentence of `L`
/// tokens is `(head · L + i) · L + j`. Fails when the shapes do not fit together.
pub fn attention(
    projected: &Tensor,
    heads: usize,
    segments: &Segments,
    masks: Option<&DropoutMasks>,
) -> Result<Tensor> {
    attention_at(Level::current(), projected, heads, segments, masks)
}

/// [`attention`] at a chosen SIMD level.
pub fn attention_at(
    level: Level,
    projected: &Tensor,
    heads: usize,
    segments: &Segments,
    masks: Option<&DropoutMasks>,
) -> Result<Tensor> {
    let op = Attention::new(level, projected.dims2()?, heads, Queries::All, segments, masks)?;
    projected.contiguous()?.apply_op1(op)
}

/// Which tokens of a sentence ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queries {
    All,
    /// The first one alone, its state being all that is wanted. Every sentence has a token.
    First,
}

impl Queries {
    /// Their number in a sentence of `length` tokens.
    fn of(self, length: usize) -> usize {
        match self {
            Self::All => length,
            Self::First => length.min(1),
        }
    }
}

/// Attention on plain numbers.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    level: Level,
    heads: usize,
    head_size: usize,
    queries: Queries,
    segments: Segments,
    masks: Option<DropoutMasks>,
}

impl Attention {
    /// Of projected states of this shape. Fails as [`attention`], and where the first token of a sentence without tokens
    /// is to ask.
    pub(crate) fn new(
        level: Level,
        (tokens, columns): (usize, usize),
        heads: usize,
        queries: Queries,
        segments: &Segments,
        masks: Option<&DropoutMasks>,
    ) -> Result<Self> {
        if heads == 0 || columns == 0 || !columns.is_multiple_of(3 * heads) {
            bail!("attention: {columns} columns are not queries, keys and values of {heads} heads");
        }
        if segments.tokens() != tokens {
            bail!("attention: the segments hold {} tokens, the input {tokens}", segments.tokens());
        }
        if let Some(masks) = masks.filter(|masks| masks.rows() != segments.len()) {
            bail!("attention: {} dropout masks for {} sentences", masks.rows(), segments.len());
        }
        if queries == Queries::First && segments.any_empty() {
            bail!("attention: a sentence without tokens has no first one");
        }
        let head_size = columns / 3 / heads;
        Ok(Self { level, heads, head_size, queries, segments: segments.clone(), masks: masks.cloned() })
    }

    fn hidden_size(&self) -> usize {
        self.heads * self.head_size
    }

    /// Calls `kernel(sentence, scratch, output)` in parallel for every sentence that has tokens; `output` has
    /// `columns` of each of its tokens that `queries` picks.
    fn for_each_sentence(
        &self,
        queries: Queries,
        columns: usize,
        output: &mut [f32],
        kernel: impl Fn(usize, &mut Scratch, &mut [f32]) + Sync,
    ) {
        let blocks = self.segments.blocks(TOKENS);
        let size = |sentence: usize| queries.of(self.segments.range(sentence).len()) * columns;
        let sizes = blocks.iter().map(|block| block.clone().map(size).sum());
        split_mut(output, sizes).into_par_iter().zip(&blocks).for_each_init(
            Scratch::default,
            |scratch, (output, block)| {
                let parts = block.clone().zip(split_mut(output, block.clone().map(size)));
                for (sentence, output) in parts.filter(|(_, output)| !output.is_empty()) {
                    kernel(sentence, scratch, output);
                }
            },
        );
    }

    /// The rows of one sentence.
    fn rows<'a>(&self, sentence: usize, columns: usize, matrix: &'a [f32]) -> &'a [f32] {
        let range = self.segments.range(sentence);
        &matrix[range.start * columns..range.end * columns]
    }

    /// The rows of one sentence that belong to its queries.
    fn query_rows<'a>(&self, sentence: usize, columns: usize, matrix: &'a [f32]) -> &'a [f32] {
        match self.queries {
            Queries::All => self.rows(sentence, columns, matrix),
            Queries::First => &matrix[sentence * columns..(sentence + 1) * columns],
        }
    }

    fn head(&self, sentence: usize, head: usize) -> Head<'_> {
        let length = self.segments.range(sentence).len();
        Head {
            level: self.level,
            length,
            queries: self.queries.of(length),
            hidden_size: self.hidden_size(),
            head_size: self.head_size,
            head,
            masks: self.masks.as_ref().map(|masks| (masks, sentence)),
        }
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, projected: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = self.forward(values(self.name(), projected, layout)?);
        Ok((CpuStorage::F32(output), Shape::from((self.segments.tokens(), self.hidden_size()))))
    }

    fn bwd(&self, projected: &Tensor, _output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let result = with_values(projected, |projected| {
            with_values(gradient, |gradient| Ok(self.backward(projected, gradient)))
        })?;
        Ok(Some(to_tensor(result, projected)?))
    }
}

impl Attention {
    /// `[T, 3H]` → `[queries, H]`.
    pub(crate) fn forward(&self, projected: &[f32]) -> Vec<f32> {
        let _time = profile::kernel("attention, forward");
        let hidden_size = self.hidden_size();
        let rows = match self.queries {
            Queries::All => self.segments.tokens(),
            Queries::First => self.segments.len(),
        };
        let mut output = zeros(rows * hidden_size);
        self.for_each_sentence(self.queries, hidden_size, &mut output, |sentence, scratch, output| {
            let projected = self.rows(sentence, 3 * hidden_size, projected);
            for head in 0..self.heads {
                attend(self.level, &self.head(sentence, head), projected, scratch, output);
            }
        });
        output
    }

    /// The gradient of `projected`, `[T, 3H]`, from that of the output; 0 for what does not ask.
    pub(crate) fn backward(&self, projected: &[f32], gradient: &[f32]) -> Vec<f32> {
        let _time = profile::kernel("attention, backward");
        let hidden_size = self.hidden_size();
        let mut result = zeros(projected.len());
        self.for_each_sentence(Queries::All, 3 * hidden_size, &mut result, |sentence, scratch, result| {
            let projected = self.rows(sentence, 3 * hidden_size, projected);
            let gradient = self.query_rows(sentence, hidden_size, gradient);
            for head in 0..self.heads {
                let place = self.head(sentence, head);
                differentiate(self.level, &place, projected, gradient, scratch, result);
            }
        });
        result
    }
}

/// One head of one sentence.
pub(crate) struct Head<'a> {
    level: Level,
    /// Tokens `L` of the sentence.
    length: usize,
    /// The first so many of them ask.
    queries: usize,
    hidden_size: usize,
    head_size: usize,
    head: usize,
    masks: Option<(&'a DropoutMasks, usize)>,
}

/// Buffers of one thread; rows are padded to whole register tiles.
#[derive(Default)]
pub(crate) struct Scratch {
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
