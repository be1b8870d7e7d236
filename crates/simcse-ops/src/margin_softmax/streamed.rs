//! The walk through the table, block by block.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::directions::{Directions, add_powers, inverse_norms, take_larger, take_nearer};
use super::seen::Seen;
use super::{MarginSoftmax, TableUpdate};
use crate::products::{Output, Prepared, Products, Threads, View};
use crate::profile;
use crate::simd::Level;
use crate::tensors::{lock, to_tensor, values, with_values};

/// Values of the table in one block, which stay in the second-level cache between the products that read them.
const BLOCK_VALUES: usize = 1 << 17;
/// Most tasks of a pass; each holds gradients of the embeddings of its own.
const MOST_TASKS: usize = 32;

#[derive(Debug, Clone, Copy)]
pub(super) struct TableShape {
    pub(super) rows: usize,
    pub(super) size: usize,
    pub(super) classes: usize,
}

pub(super) struct Streamed {
    pub(super) level: Level,
    pub(super) loss: MarginSoftmax,
    pub(super) shape: TableShape,
    pub(super) labels: Vec<u32>,
    /// Forward fills it, backward needs it.
    pub(super) seen: Arc<Mutex<Seen>>,
    /// 1 / length of each row of the table, from forward.
    pub(super) inverses: Mutex<Vec<f32>>,
    /// Moves the table in the backward pass.
    pub(super) update: Option<TableUpdate>,
}

/// Some classes, and the cosines of all rows with them.
pub(super) struct Block {
    /// First class.
    pub(super) first: usize,
    pub(super) classes: usize,
    /// Cosines of the rows of the table, `[classes · sub_centres, B]`.
    pub(super) cosines: Vec<f32>,
}

impl Streamed {
    pub(super) fn products(&self, threads: Threads) -> Products {
        Products { level: self.level, precision: self.loss.precision, threads }
    }

    /// The directions of the embeddings as columns, `[D, B]`.
    pub(super) fn columns<'a>(&self, directions: &'a Directions) -> Prepared<'a> {
        let columns = View::new(&directions.values, self.shape.rows, self.shape.size).transposed();
        Prepared::new(self.products(Threads::All), columns)
    }

    pub(super) fn classes_of_block(&self) -> usize {
        (BLOCK_VALUES / (self.shape.size * self.loss.sub_centres).max(1)).max(1)
    }

    /// The first class of each block.
    pub(super) fn blocks(&self) -> Vec<usize> {
        (0..self.shape.classes).step_by(self.classes_of_block()).collect()
    }

    /// Blocks that one task walks through.
    pub(super) fn blocks_of_task(&self) -> usize {
        self.blocks().len().div_ceil(MOST_TASKS).max(1)
    }

    /// Rows of the table that one task walks through.
    pub(super) fn rows_of_task(&self) -> usize {
        self.blocks_of_task() * self.classes_of_block() * self.loss.sub_centres
    }

    /// Classes of the block that begins with class `first`.
    pub(super) fn classes_from(&self, first: usize) -> usize {
        self.classes_of_block().min(self.shape.classes - first)
    }

    /// The block from class `first` on: its rows of the table, and 1 / their lengths.
    pub(super) fn block(&self, first: usize, table: &[f32], columns: &Prepared, inverses: &[f32]) -> Block {
        let TableShape { rows, size, .. } = self.shape;
        let count = inverses.len();
        let mut cosines = vec![0.0; count * rows];
        columns.multiply(View::new(table, count, size), &mut cosines, Output::Overwrite);
        for (row, inverse) in cosines.chunks_exact_mut(rows).zip(inverses) {
            row.iter_mut().for_each(|cosine| *cosine *= inverse);
        }
        Block { first, classes: count / self.loss.sub_centres, cosines }
    }

    /// Cosines with the classes of a block, `[classes, B]`: with the nearest centre of each.
    pub(super) fn class_cosines(&self, block: &Block) -> Vec<f32> {
        let (rows, centres) = (self.shape.rows, self.loss.sub_centres);
        if centres == 1 {
            return block.cosines.clone();
        }
        let mut classes = vec![f32::NEG_INFINITY; block.classes * rows];
        for (class, cosines) in classes.chunks_exact_mut(rows).zip(block.cosines.chunks_exact(centres * rows))
        {
            for centre in cosines.chunks_exact(rows) {
                take_larger(self.level, centre, class);
            }
        }
        classes
    }

    /// Rows whose class is in a block, and the place of their cosine in `[classes, B]`.
    pub(super) fn own_places(&self, block: &Block) -> Vec<(usize, usize)> {
        let classes = block.first..block.first + block.classes;
        let own = self.labels.iter().map(|label| *label as usize).enumerate();
        own.filter(|(_, label)| classes.contains(label))
            .map(|(row, label)| (row, (label - block.first) * self.shape.rows + row))
            .collect()
    }

    fn look_at(&self, block: &Block, seen: &mut Seen) {
        let rows = self.shape.rows;
        let mut classes = self.class_cosines(block);
        for (class, cosines) in (block.first as u32..).zip(classes.chunks_exact(rows)) {
            take_nearer(self.level, class, cosines, &mut seen.nearest_cosine, &mut seen.nearest);
        }
        for (row, place) in self.own_places(block) {
            seen.own_cosine[row] = classes[place];
            classes[place] = self.loss.own_logit(classes[place]).0 / self.loss.scale;
        }
        let mut largest = vec![f32::NEG_INFINITY; rows];
        classes.chunks_exact(rows).for_each(|cosines| take_larger(self.level, cosines, &mut largest));
        for (row, largest) in largest.iter().enumerate() {
            let largest = seen.largest[row].max(self.loss.scale * largest);
            seen.sum[row] *= (seen.largest[row] - largest).exp();
            seen.largest[row] = largest;
        }
        for cosines in classes.chunks_exact(rows) {
            add_powers(self.level, self.loss.scale, cosines, &seen.largest, &mut seen.sum);
        }
    }
}

impl CustomOp2 for Streamed {
    fn name(&self) -> &'static str {
        "margin softmax"
    }

    fn cpu_fwd(
        &self,
        embeddings: &CpuStorage,
        embeddings_layout: &Layout,
        table: &CpuStorage,
        table_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let TableShape { rows, size, classes } = self.shape;
        let _time = profile::product("margin softmax, forward", rows, size, classes * self.loss.sub_centres);
        let directions =
            Directions::of(self.level, values(self.name(), embeddings, embeddings_layout)?, size);
        let table = values(self.name(), table, table_layout)?;
        let mut inverses = vec![0.0; table.len().checked_div(size).unwrap_or(0)];
        let columns = self.columns(&directions);
        let rows_of_task = self.rows_of_task();
        let parts: Vec<Seen> = self
            .blocks()
            .par_chunks(self.blocks_of_task())
            .zip(inverses.par_chunks_mut(rows_of_task))
            .map(|(blocks, mut inverses)| {
                let mut seen = Seen::nothing(rows);
                for first in blocks {
                    let count = self.classes_from(*first) * self.loss.sub_centres;
                    let (here, rest) = inverses.split_at_mut(count);
                    inverses = rest;
                    let start = first * self.loss.sub_centres * size;
                    let table = &table[start..start + count * size];
                    inverse_norms(self.level, table, size, here);
                    self.look_at(&self.block(*first, table, &columns, here), &mut seen);
                }
                seen
            })
            .collect();
        let mut seen = Seen::nothing(rows);
        parts.iter().for_each(|part| seen.join(part));
        let own = seen.own_cosine.iter().map(|cosine| self.loss.own_logit(*cosine).0);
        let losses = seen.log_sums().iter().zip(own).map(|(log_sum, own)| log_sum - own).collect();
        *lock(&self.seen) = seen;
        *lock(&self.inverses) = inverses;
        Ok((CpuStorage::F32(losses), Shape::from(rows)))
    }

    fn bwd(
        &self,
        embeddings: &Tensor,
        table: &Tensor,
        _losses: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let TableShape { rows, size, classes } = self.shape;
        let _time =
            profile::product("margin softmax, backward", rows, 3 * size, classes * self.loss.sub_centres);
        let (result, of_table) = with_values(embeddings, |embeddings| {
            with_values(gradient, |gradient| self.backward(embeddings, table, gradient))
        })?;
        Ok((Some(to_tensor(result, embeddings)?), of_table))
    }
}
