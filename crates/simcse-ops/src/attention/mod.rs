//! Ragged multi-head self-attention with softmax and dropout inside (Vaswani et al. 2017, equation 1).
//!
//! Each sentence attends to itself alone: no padding, no mask of positions. Nothing of size tokens × tokens leaves
//! the cache of one sentence and head; the backward pass computes the probabilities again.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::Segments;
use crate::dropout::DropoutMasks;
use crate::profile;
use crate::simd::Level;
use crate::tensors::{split_mut, to_tensor, values, with_values, zeros};

mod head;
use head::{Head, Scratch, attend, differentiate};

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
