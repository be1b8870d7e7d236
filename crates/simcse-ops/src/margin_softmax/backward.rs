//! The way back through the table: its gradient, written or acted on block by block.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};
use rayon::prelude::*;

use super::directions::{Directions, across, add_times, inner_product, powers, set_times};
use super::streamed::{Block, Streamed, TableShape};
use super::{TableMoments, TableUpdate};
use crate::adamw::{AdamWStep, Constants, Moments, update};
use crate::gradients;
use crate::products::{Output, Prepared, Threads, View};
use crate::tensors::{lock, values_mut, with_values};

/// What every block needs on the way back.
struct Pass<'a> {
    /// Directions of the embeddings as columns `[D, B]` and as rows.
    columns: Prepared<'a>,
    rows: Prepared<'a>,
    /// ln Σ e^logit, and the gradient of the loss, `[B]`.
    log_sums: Vec<f32>,
    gradient: &'a [f32],
    /// 1 / length of each row of the table.
    inverses: Vec<f32>,
}

/// Rows of the table that one task walks through, cut off block by block.
trait Part: Send {
    /// Calls `differentiate(table, gradient, mode)` with the next `count` values of the table and a place for their
    /// gradient, which may be empty.
    fn next(&mut self, count: usize, differentiate: impl FnOnce(&[f32], &mut [f32], Output));
}

/// The gradient is written.
struct Written<'a> {
    table: &'a [f32],
    gradient: &'a mut [f32],
    mode: Output<'a>,
}

impl Part for Written<'_> {
    fn next(&mut self, count: usize, differentiate: impl FnOnce(&[f32], &mut [f32], Output)) {
        let (table, others) = self.table.split_at(count);
        differentiate(table, cut_off(&mut self.gradient, count), self.mode);
        self.table = others;
    }
}

/// The table stays as it is, and nobody wants its gradient.
struct Fixed<'a> {
    table: &'a [f32],
}

impl Part for Fixed<'_> {
    fn next(&mut self, count: usize, differentiate: impl FnOnce(&[f32], &mut [f32], Output)) {
        let (table, others) = self.table.split_at(count);
        differentiate(table, &mut [], Output::Overwrite);
        self.table = others;
    }
}

/// AdamW moves each block while its gradient is in the cache.
struct Moved<'a> {
    level: crate::simd::Level,
    table: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    constants: Constants,
    /// The gradient of a block.
    gradient: Vec<f32>,
}

impl Part for Moved<'_> {
    fn next(&mut self, count: usize, differentiate: impl FnOnce(&[f32], &mut [f32], Output)) {
        let [table, first, second] =
            [&mut self.table, &mut self.first, &mut self.second].map(|values| cut_off(values, count));
        self.gradient.resize(count, 0.0);
        differentiate(table, &mut self.gradient, Output::Overwrite);
        update(self.level, table, &self.gradient, first, second, self.constants);
    }
}

/// Takes the first `count` values off.
fn cut_off<'a>(values: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    let (here, rest) = std::mem::take(values).split_at_mut(count);
    *values = rest;
    here
}

impl Streamed {
    /// The gradients of embeddings `[B, D]` and, where candle is to have it, of the table.
    pub(super) fn backward(
        &self,
        embeddings: &[f32],
        table: &Tensor,
        gradient: &[f32],
    ) -> Result<(Vec<f32>, Option<Tensor>)> {
        if let Some(TableUpdate { state, step }) = &self.update {
            let mut state = lock(state);
            let TableMoments { moments, updates } = &mut *state;
            *updates += 1;
            let op = Moving {
                streamed: self,
                embeddings,
                gradient,
                moments: Mutex::new(moments),
                constants: Constants::new(AdamWStep { step: *updates, ..*step }),
                of_embeddings: Mutex::default(),
            };
            table.inplace_op1(&op)?;
            return Ok((op.of_embeddings.into_inner().unwrap_or_else(PoisonError::into_inner), None));
        }
        with_values(table, |values| {
            let size = self.rows_of_task() * self.shape.size;
            let tables = values.par_chunks(size);
            if !table.track_op() {
                return Ok((self.walk(embeddings, gradient, tables.map(|table| Fixed { table })), None));
            }
            let mut of_embeddings = Vec::new();
            let of_table = gradients::of_input(table, |of_table, mode| {
                let parts = tables.zip(of_table.par_chunks_mut(size));
                let parts = parts.map(|(table, gradient)| Written { table, gradient, mode });
                of_embeddings = self.walk(embeddings, gradient, parts);
            })?;
            Ok((of_embeddings, of_table))
        })
    }

    /// The gradient of the embeddings; what becomes of that of the table is the business of the `parts`, one for each
    /// task.
    fn walk<P: Part>(
        &self,
        embeddings: &[f32],
        gradient: &[f32],
        parts: impl IndexedParallelIterator<Item = P>,
    ) -> Vec<f32> {
        let TableShape { rows, size, .. } = self.shape;
        let directions = Directions::of(self.level, embeddings, size);
        let pass = Pass {
            columns: self.columns(&directions),
            rows: Prepared::new(self.products(Threads::All), View::new(&directions.values, rows, size)),
            log_sums: lock(&self.seen).log_sums(),
            gradient,
            inverses: lock(&self.inverses).clone(),
        };
        let parts: Vec<Vec<f32>> = self
            .blocks()
            .par_chunks(self.blocks_of_task())
            .zip(parts)
            .map(|(blocks, mut part)| {
                let mut of_embeddings = vec![0.0; embeddings.len()];
                for first in blocks {
                    let count = self.classes_from(*first) * self.loss.sub_centres * size;
                    part.next(count, |table, of_table, mode| {
                        self.block_gradients(*first, &pass, table, (of_table, mode), &mut of_embeddings);
                    });
                }
                of_embeddings
            })
            .collect();
        let mut of_embeddings = vec![0.0; embeddings.len()];
        for part in parts {
            of_embeddings.iter_mut().zip(&part).for_each(|(sum, value)| *sum += value);
        }
        let rows = of_embeddings.chunks_mut(size).zip(directions.values.chunks(size));
        for ((row, direction), inverse) in rows.zip(&directions.inverses) {
            across(self.level, direction, *inverse, row);
        }
        of_embeddings
    }

    /// The gradient of the block from class `first` on, and its share of that of the embeddings' directions.
    fn block_gradients(
        &self,
        first: usize,
        pass: &Pass,
        table: &[f32],
        (of_table, mode): (&mut [f32], Output),
        of_embeddings: &mut [f32],
    ) {
        let TableShape { rows, size, .. } = self.shape;
        let (first_row, count) = (first * self.loss.sub_centres, table.len() / size);
        let inverses = &pass.inverses[first_row..first_row + count];
        let block = self.block(first, table, &pass.columns, inverses);
        let slopes = self.slopes(block, pass, (table, inverses), of_table, mode);
        let slopes = View::new(&slopes, count, rows);
        if !of_table.is_empty() {
            pass.rows.multiply(slopes, of_table, Output::Add);
        }
        let products = self.products(Threads::One);
        products.multiply(slopes.transposed(), View::new(table, count, size), of_embeddings, Output::Add);
    }

    /// The gradient by the products of embeddings' directions and rows of the table, `[rows of the block, B]`. The part
    /// of the table's gradient along its own rows, which their lengths do not have, is taken off `of_table`.
    ///
    /// For a row `v` of length 1 / `i`, cosines `c` and their gradients `d`: the gradient by `v` is
    /// `i Σ d x - i² (Σ d c) v`.
    fn slopes(
        &self,
        mut block: Block,
        pass: &Pass,
        (table, inverses): (&[f32], &[f32]),
        of_table: &mut [f32],
        mode: Output,
    ) -> Vec<f32> {
        let TableShape { rows, size, .. } = self.shape;
        let cosines = if of_table.is_empty() { Vec::new() } else { block.cosines.clone() };
        self.differentiate(&mut block, &pass.log_sums, pass.gradient);
        let of_rows = of_table.chunks_exact_mut(size).zip(table.chunks_exact(size));
        let slopes = block.cosines.chunks_exact(rows).zip(cosines.chunks_exact(rows));
        for (((slopes, cosines), (of_row, row)), inverse) in slopes.zip(of_rows).zip(inverses) {
            let mut along = 0.0;
            inner_product(self.level, slopes, cosines, &mut along);
            let factor = -along * inverse * inverse;
            match mode {
                Output::Add => add_times(self.level, factor, row, of_row),
                _ => set_times(self.level, factor, row, of_row),
            }
        }
        for (slopes, inverse) in block.cosines.chunks_exact_mut(rows).zip(inverses) {
            slopes.iter_mut().for_each(|slope| *slope *= inverse);
        }
        block.cosines
    }

    /// Replaces cosines by the gradient of the loss by them; only the nearest centre of a class has one.
    fn differentiate(&self, block: &mut Block, log_sums: &[f32], gradient: &[f32]) {
        let (rows, centres, scale) = (self.shape.rows, self.loss.sub_centres, self.loss.scale);
        let mut slopes = self.class_cosines(block);
        let own: Vec<(usize, usize, f32)> = self
            .own_places(block)
            .into_iter()
            .map(|(row, place)| {
                let (logit, slope) = self.loss.own_logit(slopes[place]);
                (row, place, slope * ((logit - log_sums[row]).exp() - 1.0))
            })
            .collect();
        let nearest = if centres == 1 { Vec::new() } else { slopes.clone() };
        let factors: Vec<f32> = gradient.iter().map(|gradient| gradient * scale).collect();
        for cosines in slopes.chunks_exact_mut(rows) {
            powers(self.level, scale, log_sums, &factors, cosines);
        }
        for (row, place, slope) in own {
            slopes[place] = gradient[row] * slope;
        }
        if centres == 1 {
            block.cosines = slopes;
            return;
        }
        let classes = block.cosines.chunks_exact_mut(centres * rows);
        for ((cosines, nearest), slopes) in classes.zip(nearest.chunks(rows)).zip(slopes.chunks(rows)) {
            for row in 0..rows {
                let mut is_first = true;
                for centre in 0..centres {
                    let cosine = &mut cosines[centre * rows + row];
                    let is_nearest = is_first && *cosine == nearest[row];
                    is_first &= !is_nearest;
                    *cosine = if is_nearest { slopes[row] } else { 0.0 };
                }
            }
        }
    }
}

/// The way back as a change of the table.
struct Moving<'a> {
    streamed: &'a Streamed,
    embeddings: &'a [f32],
    gradient: &'a [f32],
    moments: Mutex<&'a mut Moments>,
    constants: Constants,
    of_embeddings: Mutex<Vec<f32>>,
}

impl InplaceOp1 for Moving<'_> {
    fn name(&self) -> &'static str {
        "margin softmax"
    }

    fn cpu_fwd(&self, table: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let streamed = self.streamed;
        let size = streamed.rows_of_task() * streamed.shape.size;
        let mut moments = lock(&self.moments);
        let Moments { first, second } = &mut **moments;
        let moments = first.par_chunks_mut(size).zip(second.par_chunks_mut(size));
        let parts = values_mut(self.name(), table, layout)?.par_chunks_mut(size).zip(moments);
        let (level, constants) = (streamed.level, self.constants);
        let parts = parts.map(|(table, (first, second))| Moved {
            level,
            table,
            first,
            second,
            constants,
            gradient: Vec::new(),
        });
        *lock(&self.of_embeddings) = streamed.walk(self.embeddings, self.gradient, parts);
        Ok(())
    }
}
