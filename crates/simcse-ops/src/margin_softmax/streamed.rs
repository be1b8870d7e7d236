//! The walk through the table: what forward keeps of it, and the gradients.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::MarginSoftmax;
use super::directions::{Directions, across, inverse_norms, powers, scale_by, sum_of_powers};
use crate::matmul::{Output, Threads, View, multiply};
use crate::profile;
use crate::simd::Level;
use crate::tensors::{lock, to_tensor, values, with_values};

/// Rows of the table in one block, rounded down to whole classes.
const BLOCK_ROWS: usize = 512;
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
    /// Of each row; forward fills it, backward needs it.
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
}

/// What one row has seen of the classes so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Largest logit, and the sum of e^(logit - largest).
    largest: f32,
    sum: f32,
    pub(super) own_cosine: f32,
    nearest_cosine: f32,
    pub(super) nearest: u32,
}

impl Seen {
    const NOTHING: Self = Self {
        largest: f32::NEG_INFINITY,
        sum: 0.0,
        own_cosine: 0.0,
        nearest_cosine: f32::NEG_INFINITY,
        nearest: 0,
    };

    /// Takes in what `other` saw of later classes.
    fn join(&mut self, other: &Self) {
        let largest = self.largest.max(other.largest);
        self.sum = self.sum * (self.largest - largest).exp() + other.sum * (other.largest - largest).exp();
        self.largest = largest;
        self.own_cosine += other.own_cosine;
        if other.nearest_cosine > self.nearest_cosine {
            (self.nearest_cosine, self.nearest) = (other.nearest_cosine, other.nearest);
        }
    }

    /// ln Σ e^logit.
    fn log_sum(&self) -> f32 {
        self.largest + self.sum.ln()
    }
}

/// Some classes, and the cosines of all rows with them.
struct Block {
    /// First class.
    first: usize,
    classes: usize,
    /// Cosines with the rows of the table, `[B, classes · sub_centres]`.
    cosines: Vec<f32>,
}

impl Streamed {
    fn classes_of_block(&self) -> usize {
        (BLOCK_ROWS / self.loss.sub_centres).max(1)
    }

    /// The first class of each block.
    fn blocks(&self) -> Vec<usize> {
        (0..self.shape.classes).step_by(self.classes_of_block()).collect()
    }

    /// Blocks that one task walks through.
    fn blocks_of_task(&self) -> usize {
        self.blocks().len().div_ceil(MOST_TASKS).max(1)
    }

    fn block(&self, first: usize, embeddings: &[f32], table: &[f32], inverses: &[f32]) -> Block {
        let TableShape { rows, size, classes } = self.shape;
        let classes = self.classes_of_block().min(classes - first);
        let (start, count) = (first * self.loss.sub_centres, classes * self.loss.sub_centres);
        let table = View::new(&table[start * size..(start + count) * size], count, size);
        let mut cosines = vec![0.0; rows * count];
        let embeddings = View::new(embeddings, rows, size);
        multiply(embeddings, table.transposed(), &mut cosines, Output::Overwrite, Threads::One);
        let inverses = &inverses[start..start + count];
        cosines.chunks_mut(count).for_each(|row| scale_by(self.level, inverses, row));
        Block { first, classes, cosines }
    }

    /// The nearest of a class's rows within a row of cosines, and its cosine.
    fn nearest_centre(&self, cosines: &[f32], class: usize) -> (usize, f32) {
        let first = class * self.loss.sub_centres;
        let centres = (first..).zip(&cosines[first..first + self.loss.sub_centres]);
        centres.fold(
            (first, f32::NEG_INFINITY),
            |best, (centre, cosine)| {
                if *cosine > best.1 { (centre, *cosine) } else { best }
            },
        )
    }

    /// Cosines of a row with the classes of a block, `[classes]`: of the nearest centre of each.
    fn class_cosines(&self, row: usize, block: &Block, classes: &mut Vec<f32>) {
        let count = block.classes * self.loss.sub_centres;
        let cosines = &block.cosines[row * count..(row + 1) * count];
        classes.clear();
        if self.loss.sub_centres == 1 {
            classes.extend_from_slice(cosines);
        } else {
            classes.extend((0..block.classes).map(|class| self.nearest_centre(cosines, class).1));
        }
    }

    /// The place of a row's own class in a block, if it is there.
    fn own_class(&self, row: usize, block: &Block) -> Option<usize> {
        let label = self.labels[row] as usize;
        (block.first..block.first + block.classes).contains(&label).then(|| label - block.first)
    }

    fn look_at(&self, block: &Block, seen: &mut [Seen]) {
        let mut classes = Vec::with_capacity(block.classes);
        for (row, seen) in seen.iter_mut().enumerate() {
            self.class_cosines(row, block, &mut classes);
            let mut nearest = (0, f32::NEG_INFINITY);
            for (class, cosine) in classes.iter().enumerate() {
                if *cosine > nearest.1 {
                    nearest = (class, *cosine);
                }
            }
            let mut here = Seen { nearest_cosine: nearest.1, ..Seen::NOTHING };
            here.nearest = (block.first + nearest.0) as u32;
            if let Some(own) = self.own_class(row, block) {
                here.own_cosine = classes[own];
                classes[own] = self.loss.own_logit(classes[own]).0 / self.loss.scale;
            }
            here.largest = self.loss.scale * classes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            sum_of_powers(self.level, &classes, self.loss.scale, here.largest, &mut here.sum);
            seen.join(&here);
        }
    }

    /// Replaces cosines by the gradient of the loss by them; only the nearest centre of a class has one.
    fn differentiate(&self, block: &mut Block, seen: &[Seen], gradient: &[f32]) {
        let scale = self.loss.scale;
        let count = block.classes * self.loss.sub_centres;
        let mut classes = Vec::with_capacity(block.classes);
        for (row, seen) in seen.iter().enumerate() {
            self.class_cosines(row, block, &mut classes);
            let own = self.own_class(row, block).map(|own| (own, self.loss.own_logit(classes[own])));
            powers(self.level, scale, seen.log_sum(), gradient[row] * scale, &mut classes);
            if let Some((own, (logit, slope))) = own {
                classes[own] = gradient[row] * slope * ((logit - seen.log_sum()).exp() - 1.0);
            }
            let cosines = &mut block.cosines[row * count..(row + 1) * count];
            if self.loss.sub_centres == 1 {
                cosines.copy_from_slice(&classes);
            } else {
                for (class, gradient) in classes.iter().enumerate() {
                    let (nearest, _) = self.nearest_centre(cosines, class);
                    let first = class * self.loss.sub_centres;
                    cosines[first..first + self.loss.sub_centres].fill(0.0);
                    cosines[nearest] = *gradient;
                }
            }
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
        let embeddings =
            Directions::of(self.level, values(self.name(), embeddings, embeddings_layout)?, size);
        let table = values(self.name(), table, table_layout)?;
        let inverses = inverse_norms(self.level, table, size);
        let parts: Vec<Vec<Seen>> = self
            .blocks()
            .par_chunks(self.blocks_of_task())
            .map(|blocks| {
                let mut seen = vec![Seen::NOTHING; rows];
                for first in blocks {
                    self.look_at(&self.block(*first, &embeddings.values, table, &inverses), &mut seen);
                }
                seen
            })
            .collect();
        let mut seen = vec![Seen::NOTHING; rows];
        for part in &parts {
            seen.iter_mut().zip(part).for_each(|(seen, part)| seen.join(part));
        }
        let losses = seen.iter().map(|row| row.log_sum() - self.loss.own_logit(row.own_cosine).0).collect();
        *lock(&self.seen) = seen;
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
        let (of_embeddings, of_table) = with_values(embeddings, |embeddings| {
            with_values(table, |table| {
                with_values(gradient, |gradient| Ok(self.gradients(embeddings, table, gradient)))
            })
        })?;
        Ok((Some(to_tensor(of_embeddings, embeddings)?), Some(to_tensor(of_table, table)?)))
    }
}

impl Streamed {
    /// Gradients of embeddings and table.
    fn gradients(&self, embeddings: &[f32], table: &[f32], gradient: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let size = self.shape.size;
        let directions = Directions::of(self.level, embeddings, size);
        let inverses = inverse_norms(self.level, table, size);
        let seen = lock(&self.seen);
        let mut of_table = vec![0.0; table.len()];
        let rows_of_task = self.blocks_of_task() * self.classes_of_block() * self.loss.sub_centres;
        let parts: Vec<Vec<f32>> = self
            .blocks()
            .par_chunks(self.blocks_of_task())
            .zip(of_table.par_chunks_mut(rows_of_task * size))
            .map(|(blocks, mut of_table)| {
                let mut of_embeddings = vec![0.0; embeddings.len()];
                for first in blocks {
                    let mut block = self.block(*first, &directions.values, table, &inverses);
                    let start = first * self.loss.sub_centres;
                    let count = block.classes * self.loss.sub_centres;
                    let (here, rest) = of_table.split_at_mut(count * size);
                    of_table = rest;
                    let values = &table[start * size..(start + count) * size];
                    let inverses = &inverses[start..start + count];
                    self.differentiate(&mut block, &seen, gradient);
                    self.add_block(&mut block, &directions, (values, inverses), here, &mut of_embeddings);
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
            across(self.level, direction, 1.0, *inverse, row);
        }
        (of_embeddings, of_table)
    }

    /// From gradients by cosine, which stand in the block, to those of its rows of the table (written) and of the
    /// normalised embeddings (added).
    fn add_block(
        &self,
        block: &mut Block,
        directions: &Directions,
        (table, inverses): (&[f32], &[f32]),
        of_table: &mut [f32],
        of_embeddings: &mut [f32],
    ) {
        let TableShape { rows, size, .. } = self.shape;
        let count = inverses.len();
        let by_cosine = View::new(&block.cosines, rows, count);
        let embeddings = View::new(&directions.values, rows, size);
        multiply(by_cosine.transposed(), embeddings, of_table, Output::Overwrite, Threads::One);
        let centres = of_table.chunks_mut(size).zip(table.chunks(size));
        for ((gradient, centre), inverse) in centres.zip(inverses) {
            across(self.level, centre, *inverse, *inverse, gradient);
        }
        block.cosines.chunks_mut(count).for_each(|row| scale_by(self.level, inverses, row));
        let by_centre = View::new(&block.cosines, rows, count);
        multiply(by_centre, View::new(table, count, size), of_embeddings, Output::Add, Threads::One);
    }
}
