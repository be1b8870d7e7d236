//! Which embedding stands in which row (anchor) and column (candidate) of the similarities.

use std::ops::Range;

use candle_core::Tensor;

use crate::{Candidates, InfoNceConfig, Negatives, RowGroups};

/// Rows and columns of the similarities `[R, C]` of one batch. What is asked of some rows is that of these rows alone.
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
    /// Added to the positive's logit: minus the margin, in temperatures.
    of_positive: f64,
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
            of_positive: -config.margin.unwrap_or(0.0) / config.temperature,
        };
        for (number, &owner) in hard.map_or(&[][..], |hard| hard.owners).iter().enumerate() {
            layout.own_hard[owner as usize] = Some(layout.batch_columns() + number);
        }
        layout
    }

    /// Number of anchors `R`.
    pub(crate) fn rows(&self) -> usize {
        if self.symmetric { 2 * self.batch_size } else { self.batch_size }
    }

    /// Columns of the batch's own pairs, before hard negatives and queue.
    fn batch_columns(&self) -> usize {
        match self.candidates {
            Candidates::OtherView => self.batch_size,
            Candidates::BothViews => 2 * self.batch_size,
        }
    }

    /// Number of candidates `C`.
    pub(crate) fn columns(&self) -> usize {
        self.batch_columns() + self.beside
    }

    /// Dot products of some anchors `r` with all candidates, `[r, C]`. `all` are the embeddings of both views, then hard
    /// negatives and queue, `[2B + M + Q, D]`.
    pub(crate) fn compare(&self, all: &Tensor, rows: Range<usize>) -> candle_core::Result<Tensor> {
        let of_view = |view: usize| {
            let first = view * self.batch_size;
            rows.start.max(first)..rows.end.min(first + self.batch_size)
        };
        let views = [0, 1].map(|view| (view, of_view(view)));
        let parts = views.into_iter().filter(|(_, rows)| !rows.is_empty()).map(|(view, rows)| {
            all.narrow(0, rows.start, rows.len())?.matmul(&self.candidates(all, view)?.t()?)
        });
        let parts = parts.collect::<candle_core::Result<Vec<Tensor>>>()?;
        match parts.as_slice() {
            [part] => Ok(part.clone()),
            _ => Tensor::cat(&parts, 0),
        }
    }

    /// The candidates of the anchors of a view, `[C, D]`.
    fn candidates(&self, all: &Tensor, view: usize) -> candle_core::Result<Tensor> {
        if self.candidates == Candidates::BothViews {
            return Ok(all.clone());
        }
        let other = all.narrow(0, (1 - view) * self.batch_size, self.batch_size)?;
        match self.beside {
            0 => Ok(other),
            beside => Tensor::cat(&[&other, &all.narrow(0, 2 * self.batch_size, beside)?], 0),
        }
    }

    /// Column of each anchor's positive.
    pub(crate) fn targets(&self, rows: Range<usize>) -> Vec<u32> {
        let columns = self.batch_columns();
        let to_positive = columns - self.batch_size; // the other view's half, where there are two
        rows.map(|row| ((row + to_positive) % columns) as u32).collect()
    }

    /// Marks what is no candidate, `[r, C]`: the anchor itself, and texts equal to the anchor's or to its
    /// positive's. The positive always is one.
    pub(crate) fn excluded(&self, rows: Range<usize>, groups: Option<&RowGroups<'_>>) -> Vec<u8> {
        let columns = self.columns();
        let mut excluded = vec![0; rows.len() * columns];
        let marks_of_rows = excluded.chunks_exact_mut(columns).zip(self.targets(rows.clone()));
        for (row, (marks, target)) in rows.zip(marks_of_rows) {
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

    /// The loss of an anchor whose similarities are all equal, with negatives of this total weight.
    pub(crate) fn guess(&self, negatives: f64) -> f64 {
        (negatives + self.of_positive.exp()).ln() - self.of_positive
    }

    /// What is added to the logits, `[r, C]`: logarithms of weights, and the margin; `None` if that is nothing.
    pub(crate) fn added(&self, rows: Range<usize>) -> Option<Vec<f64>> {
        if self.hard_weight == 1.0 && self.of_positive == 0.0 {
            return None;
        }
        let columns = self.columns();
        let mut added = vec![0.0; rows.len() * columns];
        let values_of_rows = added.chunks_exact_mut(columns).zip(self.targets(rows.clone()));
        for (row, (values, target)) in rows.zip(values_of_rows) {
            if let Some(column) = self.own_hard[row % self.batch_size] {
                values[column] = self.hard_weight.ln();
            }
            values[target as usize] = self.of_positive;
        }
        Some(added)
    }
}
