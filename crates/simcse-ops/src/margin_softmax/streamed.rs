//! The walk through the table: what forward keeps of it, and the gradients.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::MarginSoftmax;
use super::directions::{
    Directions, across, add_powers, add_times, inner_product, inverse_norms, powers, set_times, take_larger,
    take_nearer,
};
use crate::gradients;
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
}

/// What the rows have seen of the classes so far, one value of each for every row.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Largest logit, and the sum of e^(logit - largest).
    largest: Vec<f32>,
    sum: Vec<f32>,
    pub(super) own_cosine: Vec<f32>,
    nearest_cosine: Vec<f32>,
    pub(super) nearest: Vec<u32>,
}

impl Seen {
    fn nothing(rows: usize) -> Self {
        let lowest = vec![f32::NEG_INFINITY; rows];
        Self {
            largest: lowest.clone(),
            sum: vec![0.0; rows],
            own_cosine: vec![0.0; rows],
            nearest_cosine: lowest,
            nearest: vec![0; rows],
        }
    }

    /// Takes in what `other` saw of later classes.
    fn join(&mut self, other: &Self) {
        for row in 0..self.sum.len() {
            let largest = self.largest[row].max(other.largest[row]);
            self.sum[row] = self.sum[row] * (self.largest[row] - largest).exp()
                + other.sum[row] * (other.largest[row] - largest).exp();
            self.largest[row] = largest;
            self.own_cosine[row] += other.own_cosine[row];
            if other.nearest_cosine[row] > self.nearest_cosine[row] {
                (self.nearest_cosine[row], self.nearest[row]) =
                    (other.nearest_cosine[row], other.nearest[row]);
            }
        }
    }

    /// ln Σ e^logit of each row.
    fn log_sums(&self) -> Vec<f32> {
        self.largest.iter().zip(&self.sum).map(|(largest, sum)| largest + sum.ln()).collect()
    }
}

/// Some classes, and the cosines of all rows with them.
struct Block {
    /// First class.
    first: usize,
    classes: usize,
    /// Cosines of the rows of the table, `[classes · sub_centres, B]`.
    cosines: Vec<f32>,
}

/// What every block needs.
struct Pass<'a> {
    table: &'a [f32],
    /// The directions of the embeddings as columns, `[D, B]`.
    columns: Prepared<'a>,
}

impl Streamed {
    fn products(&self, threads: Threads) -> Products {
        Products { level: self.level, precision: self.loss.precision, threads }
    }

    fn pass<'a>(&self, directions: &'a Directions, table: &'a [f32]) -> Pass<'a> {
        let columns = View::new(&directions.values, self.shape.rows, self.shape.size).transposed();
        Pass { table, columns: Prepared::new(self.products(Threads::All), columns) }
    }

    fn classes_of_block(&self) -> usize {
        (BLOCK_VALUES / (self.shape.size * self.loss.sub_centres).max(1)).max(1)
    }

    /// The first class of each block.
    fn blocks(&self) -> Vec<usize> {
        (0..self.shape.classes).step_by(self.classes_of_block()).collect()
    }

    /// Blocks that one task walks through.
    fn blocks_of_task(&self) -> usize {
        self.blocks().len().div_ceil(MOST_TASKS).max(1)
    }

    /// The block from class `first` on, `inverses` being 1 / length of its rows of the table.
    fn block(&self, first: usize, pass: &Pass, inverses: &[f32]) -> Block {
        let TableShape { rows, size, classes } = self.shape;
        let classes = self.classes_of_block().min(classes - first);
        let (start, count) = (first * self.loss.sub_centres, classes * self.loss.sub_centres);
        let table = View::new(&pass.table[start * size..(start + count) * size], count, size);
        let mut cosines = vec![0.0; count * rows];
        pass.columns.multiply(table, &mut cosines, Output::Overwrite);
        for (row, inverse) in cosines.chunks_exact_mut(rows).zip(inverses) {
            row.iter_mut().for_each(|cosine| *cosine *= inverse);
        }
        Block { first, classes, cosines }
    }

    /// Cosines with the classes of a block, `[classes, B]`: with the nearest centre of each.
    fn class_cosines(&self, block: &Block) -> Vec<f32> {
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
    fn own_places(&self, block: &Block) -> Vec<(usize, usize)> {
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
        let pass = self.pass(&directions, table);
        let rows_of_task = self.blocks_of_task() * self.classes_of_block() * self.loss.sub_centres;
        let parts: Vec<Seen> = self
            .blocks()
            .par_chunks(self.blocks_of_task())
            .zip(inverses.par_chunks_mut(rows_of_task))
            .map(|(blocks, mut inverses)| {
                let mut seen = Seen::nothing(rows);
                for first in blocks {
                    let count = (self.classes_of_block() * self.loss.sub_centres).min(inverses.len());
                    let (here, rest) = inverses.split_at_mut(count);
                    inverses = rest;
                    let start = first * self.loss.sub_centres * size;
                    inverse_norms(self.level, &table[start..start + count * size], size, here);
                    self.look_at(&self.block(*first, &pass, here), &mut seen);
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
        with_values(embeddings, |of_embeddings| {
            with_values(table, |values| {
                with_values(gradient, |gradient| {
                    let mut result = Vec::new();
                    let of_table = gradients::of_input(table, |of_table, mode| {
                        result = self.gradients(of_embeddings, values, gradient, of_table, mode);
                    })?;
                    if !table.track_op() {
                        let mut unused = vec![0.0; values.len()];
                        result =
                            self.gradients(of_embeddings, values, gradient, &mut unused, Output::Overwrite);
                    }
                    Ok((Some(to_tensor(result, embeddings)?), of_table))
                })
            })
        })
    }
}

impl Streamed {
    /// The gradient of the embeddings; that of the table is written to `of_table` or added to it.
    fn gradients(
        &self,
        embeddings: &[f32],
        table: &[f32],
        gradient: &[f32],
        of_table: &mut [f32],
        mode: Output,
    ) -> Vec<f32> {
        let TableShape { rows, size, .. } = self.shape;
        let directions = Directions::of(self.level, embeddings, size);
        let (log_sums, inverses) = (lock(&self.seen).log_sums(), lock(&self.inverses));
        let pass = self.pass(&directions, table);
        let directions_in_rows =
            Prepared::new(self.products(Threads::All), View::new(&directions.values, rows, size));
        let rows_of_task = self.blocks_of_task() * self.classes_of_block() * self.loss.sub_centres;
        let parts: Vec<Vec<f32>> = self
            .blocks()
            .par_chunks(self.blocks_of_task())
            .zip(of_table.par_chunks_mut(rows_of_task * size))
            .map(|(blocks, mut of_table)| {
                let mut of_embeddings = vec![0.0; embeddings.len()];
                for first in blocks {
                    let first_row = first * self.loss.sub_centres;
                    let block = self.block(*first, &pass, &inverses[first_row..]);
                    let (here, rest) = of_table.split_at_mut(block.classes * self.loss.sub_centres * size);
                    of_table = rest;
                    let block_inverses = &inverses[first_row..first_row + here.len() / size];
                    let slopes =
                        self.slopes(block, (table, block_inverses), (&log_sums, gradient), here, mode);
                    let slopes = View::new(&slopes, here.len() / size, rows);
                    directions_in_rows.multiply(slopes, here, Output::Add);
                    let start = first_row * size;
                    let values = View::new(&table[start..start + here.len()], slopes.rows, size);
                    let products = self.products(Threads::One);
                    products.multiply(slopes.transposed(), values, &mut of_embeddings, Output::Add);
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

    /// The gradient by the products of embeddings' directions and rows of the table, `[rows of the block, B]`. The part
    /// of the table's gradient along its own rows, which their lengths do not have, is taken off `of_table`.
    ///
    /// For a row `v` of length 1 / `i`, cosines `c` and their gradients `d`: the gradient by `v` is
    /// `i Σ d x - i² (Σ d c) v`.
    fn slopes(
        &self,
        mut block: Block,
        (table, inverses): (&[f32], &[f32]),
        (log_sums, gradient): (&[f32], &[f32]),
        of_table: &mut [f32],
        mode: Output,
    ) -> Vec<f32> {
        let TableShape { rows, size, .. } = self.shape;
        let start = block.first * self.loss.sub_centres;
        let cosines = block.cosines.clone();
        self.differentiate(&mut block, log_sums, gradient);
        let of_rows = of_table.chunks_exact_mut(size).zip(table[start * size..].chunks_exact(size));
        let slopes = block.cosines.chunks_exact_mut(rows).zip(cosines.chunks_exact(rows));
        for (((slopes, cosines), (of_row, row)), inverse) in slopes.zip(of_rows).zip(inverses) {
            let mut along = 0.0;
            inner_product(self.level, slopes, cosines, &mut along);
            let factor = -along * inverse * inverse;
            match mode {
                Output::Add => add_times(self.level, factor, row, of_row),
                _ => set_times(self.level, factor, row, of_row),
            }
            slopes.iter_mut().for_each(|slope| *slope *= inverse);
        }
        block.cosines
    }
}
