//! What a batch brings beside its pairs: further negatives, and which of its texts are equal.

use candle_core::Tensor;

use crate::{LossError, Result};

/// Negatives beside the other pairs of the batch; none by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Negatives<'a> {
    /// Sentences chosen to be hard, each for one pair, and candidates of every anchor.
    pub hard: Option<HardNegatives<'a>>,
    /// `[Q, D]`: embeddings of earlier batches (the momentum queue of ESimCSE, Wu et al. 2022), candidates
    /// of every anchor. They pass no gradient on.
    pub queue: Option<&'a Tensor>,
}

/// The hard negatives of a batch of triplets; a pair may be without one.
#[derive(Debug, Clone, Copy)]
pub struct HardNegatives<'a> {
    /// `[M, D]`, `M <= B`.
    pub embeddings: &'a Tensor,
    /// `[M]`: the pair of the batch, from 0, whose hard negative each row is. No pair has two.
    pub owners: &'a [u32],
    /// α of Gao et al. 2021, appendix: weight of `exp(sim / τ)` of an anchor's own hard negative, above 0.
    /// 1 is equation 5. (The official code's `hard_negative_weight` is ln α.)
    pub weight: f64,
}

/// Which texts of a batch are equal: equal numbers, in all three lists.
///
/// A candidate whose text is that of the anchor or of its positive is no negative.
#[derive(Debug, Clone, Copy)]
pub struct RowGroups<'a> {
    /// `[B]`.
    pub anchors: &'a [u32],
    /// `[B]`.
    pub positives: &'a [u32],
    /// `[M]`; empty without hard negatives.
    pub hard: &'a [u32],
}

impl<'a> Negatives<'a> {
    /// The hard negatives, if there is at least one.
    pub(crate) fn some_hard(&self) -> Option<HardNegatives<'a>> {
        self.hard.filter(|hard| !hard.owners.is_empty())
    }

    /// The queue, if it is not empty.
    pub(crate) fn some_queue(&self) -> Option<&'a Tensor> {
        self.queue.filter(|queue| queue.elem_count() > 0)
    }

    /// All of them, `[M + Q, D]`, hard negatives first; `None` if there are none. `convert` is applied to
    /// each kind before they are joined.
    pub(crate) fn joined(
        &self,
        convert: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Option<Tensor>> {
        let hard = self.some_hard().map(|hard| convert(hard.embeddings)).transpose()?;
        let queue = self.some_queue().map(|queue| convert(&queue.detach())).transpose()?;
        Ok(match (hard, queue) {
            (Some(hard), Some(queue)) => Some(Tensor::cat(&[hard, queue], 0)?),
            (hard, queue) => hard.or(queue),
        })
    }

    /// Fails when shapes, owners or the weight do not fit a batch of `[batch_size, size]`.
    pub(crate) fn validate(&self, batch_size: usize, size: usize) -> Result<()> {
        if let Some(hard) = &self.hard {
            hard.validate(batch_size, size)?;
        }
        match self.queue {
            Some(queue) if queue.rank() != 2 || queue.dims()[1] != size => {
                Err(LossError::Embeddings(format!(
                    "info_nce: a queue of {:?} beside embeddings of size {size}; fix: give [Q, {size}]",
                    queue.dims()
                )))
            }
            _ => Ok(()),
        }
    }
}

impl HardNegatives<'_> {
    fn validate(&self, batch_size: usize, size: usize) -> Result<()> {
        let wrong = |problem: String| Err(LossError::Embeddings(format!("info_nce: {problem}")));
        let (count, dims) = (self.owners.len(), self.embeddings.dims());
        if dims != [count, size] {
            return wrong(format!(
                "hard negatives {dims:?} for {count} owners beside embeddings of size {size}; fix: give \
                 [{count}, {size}], one row for each owner"
            ));
        }
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return wrong(format!(
                "a hard negative's weight of {}; fix: take a number above 0, 1 for none",
                self.weight
            ));
        }
        let mut owned = vec![false; batch_size];
        for &owner in self.owners {
            match owned.get_mut(owner as usize) {
                None => {
                    return wrong(format!(
                        "a hard negative of pair {owner} in a batch of {batch_size}; fix: number the pairs of \
                         the batch from 0"
                    ));
                }
                Some(true) => {
                    return wrong(format!(
                        "two hard negatives of pair {owner}; fix: give each pair at most one"
                    ));
                }
                Some(is_owned) => *is_owned = true,
            }
        }
        Ok(())
    }
}

impl RowGroups<'_> {
    /// Fails unless every row has a number.
    pub(crate) fn validate(&self, batch_size: usize, hard: usize) -> Result<()> {
        for (groups, rows, what) in [
            (self.anchors, batch_size, "batch"),
            (self.positives, batch_size, "batch"),
            (self.hard, hard, "number of hard negatives"),
        ] {
            if groups.len() != rows {
                return Err(LossError::Embeddings(format!(
                    "info_nce: {} groups for a {what} of {rows}; fix: give one group for each sentence",
                    groups.len()
                )));
            }
        }
        Ok(())
    }
}
