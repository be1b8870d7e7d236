//! Table lookup with dropout, for ragged batches.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::Segments;
use crate::dropout::DropoutMasks;
use crate::gradients::{self, RowGradient};
use crate::profile;
use crate::simd::Level;
use crate::tensors::{split_mut, values, with_values};

/// Rows of `table` `[V, E]` for the tokens `ids` (length `T`), under dropout where `masks` are given: `[T, E]`.
///
/// The mask position of element `e` of the `t`-th token of a sentence is `t · E + e`. [`crate::gradients::backward`] gives
/// the gradient of a table that is a variable by row. Fails when an id is not below `V`, or ids, segments and masks disagree on their counts.
pub fn embedding(
    table: &Tensor,
    ids: &[u32],
    segments: &Segments,
    masks: Option<&DropoutMasks>,
) -> Result<Tensor> {
    let embedding_size = check_ids(table, ids)?;
    if ids.len() != segments.tokens() {
        bail!("embedding: {} ids, but the segments hold {} tokens", ids.len(), segments.tokens());
    }
    if let Some(masks) = masks.filter(|masks| masks.rows() != segments.len()) {
        bail!("embedding: {} dropout masks for {} sentences", masks.rows(), segments.len());
    }
    let op = Embedding { ids: ids.into(), segments: segments.clone(), masks: masks.cloned(), embedding_size };
    table.contiguous()?.apply_op1(op)
}

/// The columns of `table`. Fails when it lacks a row for one of `ids`.
pub(crate) fn check_ids(table: &Tensor, ids: &[u32]) -> Result<usize> {
    let (vocabulary_size, embedding_size) = table.dims2()?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary_size) {
        bail!("embedding: token id {id} in a vocabulary of {vocabulary_size}");
    }
    Ok(embedding_size)
}

struct Embedding {
    ids: Arc<[u32]>,
    segments: Segments,
    masks: Option<DropoutMasks>,
    embedding_size: usize,
}

impl Embedding {
    /// Multiplies the tokens `[T, E]` by their masks.
    fn apply_masks(&self, tokens: &mut [f32]) {
        let Some(masks) = &self.masks else { return };
        let size = |sentence: usize| self.segments.range(sentence).len() * self.embedding_size;
        let sentences = split_mut(tokens, (0..self.segments.len()).map(size));
        let level = Level::current();
        sentences.into_par_iter().enumerate().for_each(|(row, values)| masks.apply(level, row, 0, values));
    }
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let _time = profile::kernel("embedding, forward");
        let table = values(self.name(), storage, layout)?;
        let size = self.embedding_size;
        let mut tokens = Vec::with_capacity(self.ids.len() * size);
        for &id in self.ids.iter() {
            tokens.extend_from_slice(&table[id as usize * size..(id as usize + 1) * size]);
        }
        self.apply_masks(&mut tokens);
        Ok((CpuStorage::F32(tokens), Shape::from((self.ids.len(), size))))
    }

    fn bwd(&self, table: &Tensor, _output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let _time = profile::kernel("embedding, backward");
        let size = self.embedding_size;
        let mut tokens = with_values(gradient, |gradient| Ok(gradient.to_vec()))?;
        self.apply_masks(&mut tokens);
        gradients::of_rows(table, || RowGradient::of_tokens(&self.ids, &tokens, size))
    }
}
