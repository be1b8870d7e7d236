//! A second objective of its own forward pass.

use std::ops::Range;

use candle_core::Tensor;
use simcse_random::Stream;

use crate::{Result, StepBatch};

/// A loss that is added to that of the [`Objective`](crate::objective::Objective): total = objective +
/// weight · auxiliary. It sees the sentences, not their embeddings, and makes a forward pass of its own.
pub trait Auxiliary {
    /// The share of `anchors` (rows of view 0) in the mean loss of this step, a scalar that can be
    /// differentiated; `None` if they have no share. The shares of all pieces of a batch sum up to its mean
    /// loss, so that a gradient cache can go by pieces here too.
    ///
    /// `stream`: of all auxiliary losses of the run, not yet of this step; `step`: steps done before.
    fn loss(
        &self,
        batch: &StepBatch,
        anchors: Range<usize>,
        stream: Stream,
        step: u64,
    ) -> Result<Option<Tensor>>;

    /// Factor on the loss.
    fn weight(&self) -> f64;
}
