//! Which embedding stands in which row (anchor) and column (candidate) of the similarities.

use candle_core::Tensor;

use crate::{Candidates, InfoNceConfig, Negatives, RowGroups};

/// Rows and columns of the similarities `[R, C]` of one batch.
///
/// Rows are the anchors, view after view: `i` and `B + i` are one pair. Columns are the candidates of the
/// batch (the other view, or both views numbered as the rows are), then the hard negatives, then the queue.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    candidates: Candidates,
    symmetric: bool,
    batch_size: usize,
    /// Number of hard negatives and of embeddings in the queue.
    beside: usize,
    /// Column of each pair's own hard negative, `[B]`.
    own_hard: Vec<Option<usize>>,
    /// Weight of the own hard negative.
    hard_weight: f64,
}

impl Layout {
    /// `negatives` were validated for this batch size.
    pub(crate) fn new(config: &InfoNceConfig, batch_size: usize, negatives: &Negatives<'_>) -> Self {
        let (hard, queue) = (negatives.some_hard(), negatives.some_queue());
        let mut layout = Self {
            candidates: config.candidates,
            symmetric: config.symmetric,
            batch_size,
            beside: hard.map_or(0, |hard| hard.owners.len()) + queue.map_or(0, |queue| queue.dims()[0]),
            own_hard: vec![None; batch_size],
            hard_weight: hard.map_or(1.0, |hard| hard.weight),
        };
        for (number, &owner) in hard.map_or(&[][..], |hard| hard.owners).iter().enumerate() {
            layout.own_hard[owner as usize] = Some(layout.batch_columns() + number);
        }
        layout
    }

    fn rows(&self) -> usize {
        if self.symmetric { 2 * self.batch_size } else { self.batch_size }
    }

    /// Columns of the batch's own pairs, before hard negatives and queue.
    fn batch_columns(&self) -> usize {
        match self.candidates {
            Candidates::OtherView => self.batch_size,
            Candidates::BothViews => 2 * self.batch_size,
        }
    }

    fn columns(&self) -> usize {
        self.batch_columns() + self.beside
    }

    /// Dot products of anchors and candidates, `[R, C]`; `beside` holds hard negatives and queue.
    pub(crate) fn compare(
        &self,
        anchors: &Tensor,
        positives: &Tensor,
        beside: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        let in_batch = match self.candidates {
            Candidates::OtherView => {
                let forward = anchors.matmul(&positives.t()?)?; // [B, B]
                if self.symmetric { Tensor::cat(&[&forward, &forward.t()?], 0)? } else { forward }
            }
            Candidates::BothViews => {
                let all = Tensor::cat(&[anchors, positives], 0)?; // [2B, D]
                let rows = if self.symmetric { &all } else { anchors };
                rows.matmul(&all.t()?)?
            }
        };
        let Some(beside) = beside else { return Ok(in_batch) };
        let rows = if self.symmetric { &Tensor::cat(&[anchors, positives], 0)? } else { anchors }; // [R, D]
        Tensor::cat(&[&in_batch, &rows.matmul(&beside.t()?)?], 1)
    }

    /// Column of each row's positive.
    pub(crate) fn targets(&self) -> Vec<u32> {
        let columns = self.batch_columns();
        let to_positive = columns - self.batch_size; // the other view's half, where there are two
        (0..self.rows()).map(|row| ((row + to_positive) % columns) as u32).collect()
    }

    /// Marks what is no candidate, `[R, C]`: the anchor itself, and texts equal to the anchor's or to its
    /// positive's. The positive always is one.
    pub(crate) fn excluded(&self, targets: &[u32], groups: Option<&RowGroups<'_>>) -> Vec<u8> {
        let columns = self.columns();
        let mut excluded = vec![0; targets.len() * columns];
        for (row, &target) in targets.iter().enumerate() {
            let marks = &mut excluded[row * columns..(row + 1) * columns];
            if self.candidates == Candidates::BothViews {
                marks[row] = 1;
            }
            if let Some(groups) = groups {
                self.mark_equal_texts(row, groups, marks);
            }
            marks[target as usize] = 0;
        }
        excluded
    }

    /// `marks`: one row of [`Layout::excluded`]. The queue stands last and has no groups.
    fn mark_equal_texts(&self, row: usize, groups: &RowGroups<'_>, marks: &mut [u8]) {
        let (view, pair) = (row / self.batch_size, row % self.batch_size);
        let own = [groups.anchors[pair], groups.positives[pair]];
        let of_batch = match (self.candidates, view) {
            (Candidates::BothViews, _) => [groups.anchors, groups.positives],
            (Candidates::OtherView, 0) => [groups.positives, &[]],
            (Candidates::OtherView, _) => [groups.anchors, &[]],
        };
        for (mark, text) in marks.iter_mut().zip(of_batch.into_iter().flatten().chain(groups.hard)) {
            *mark |= u8::from(own.contains(text));
        }
    }

    /// Weight of `exp(sim / τ)` of a candidate.
    pub(crate) fn weight(&self, row: usize, column: usize) -> f64 {
        if self.own_hard[row % self.batch_size] == Some(column) { self.hard_weight } else { 1.0 }
    }

    /// Logarithms of all weights, `[R, C]`; `None` if every weight is 1.
    pub(crate) fn log_weights(&self) -> Option<Vec<f64>> {
        if self.hard_weight == 1.0 {
            return None;
        }
        let columns = self.columns();
        let mut log_weights = vec![0.0; self.rows() * columns];
        for (row, weights) in log_weights.chunks_exact_mut(columns).enumerate() {
            if let Some(column) = self.own_hard[row % self.batch_size] {
                weights[column] = self.hard_weight.ln();
            }
        }
        Some(log_weights)
    }
}
