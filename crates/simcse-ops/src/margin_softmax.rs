//! Cross-entropy over normalised classes with a margin, streamed over the table of classes.
//!
//! A table of 100,000 classes times 128 rows would make 51 MB of logits, and some copies of them. Here the table is
//! walked through in blocks that stay in the cache: forward keeps one number for each row, backward computes the
//! logits of a block again.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::math::{exp, sum};
use crate::matmul::{Output, Threads, View, multiply};
use crate::profile;
use crate::simd::{Level, dispatch};
use crate::tensors::{lock, to_tensor, values, with_values};

/// Rows of the table in one block, rounded down to whole classes.
const BLOCK_ROWS: usize = 512;
/// Most tasks of a pass; each holds gradients of the embeddings of its own.
const MOST_TASKS: usize = 32;
/// Vectors that are shorter count as zero: they have no direction.
const SHORTEST: f32 = 1e-12;

/// What is asked of the right class beyond being the nearest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Margin {
    /// Nothing: softmax over cosines (Wang et al. 2017, "NormFace").
    None,
    /// cos θ - m (Wang et al. 2018, AM-Softmax, equation 6; Wang et al. 2018, CosFace, equation 4).
    Cosine(f32),
    /// cos(θ + m) (Deng et al. 2019, ArcFace, equation 3); beyond π, where it would rise again,
    /// cos θ - m sin m, as its authors' code does.
    Angle(f32),
}

/// The constants of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarginSoftmax {
    /// Multiplies every cosine: s.
    pub scale: f32,
    /// Of the right class.
    pub margin: Margin,
    /// Rows of the table for each class, of which the nearest counts (Deng et al. 2020, "Sub-center ArcFace").
    pub sub_centres: usize,
}

/// What [`margin_softmax`] gives beside the losses.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassDiagnostics {
    /// Cosine of each row with its own class, without margin, `[B]`.
    pub own_cosine: Vec<f32>,
    /// The nearest class of each row, the first of several, `[B]`.
    pub nearest: Vec<u32>,
}

/// `-ln softmax(s · [cos θ₀, …, margin(cos θ_label), …])[label]` of each row: embeddings `[B, D]` and table
/// `[C · sub_centres, D]`, of which class c owns `sub_centres` rows in a row → `[B]`.
///
/// Neither has to be normalised. A vector of length 0 has cosine 0 with everything, and no gradient. Fails when
/// shapes do not fit together, a label is not below `C`, or the tensors are not contiguous float32 on the CPU.
pub fn margin_softmax(
    embeddings: &Tensor,
    table: &Tensor,
    labels: &[u32],
    loss: MarginSoftmax,
) -> Result<(Tensor, ClassDiagnostics)> {
    margin_softmax_at(Level::current(), embeddings, table, labels, loss)
}

/// [`margin_softmax`] with its element-wise passes at a chosen SIMD level.
pub fn margin_softmax_at(
    level: Level,
    embeddings: &Tensor,
    table: &Tensor,
    labels: &[u32],
    loss: MarginSoftmax,
) -> Result<(Tensor, ClassDiagnostics)> {
    let ((rows, size), (table_rows, table_size)) = (embeddings.dims2()?, table.dims2()?);
    let sub_centres = loss.sub_centres;
    if size != table_size || labels.len() != rows || sub_centres == 0 || table_rows % sub_centres != 0 {
        bail!(
            "margin softmax: {rows} embeddings of {size}, {} labels and a table of {table_rows} x {table_size} with \
             {sub_centres} rows a class do not fit together",
            labels.len()
        );
    }
    let classes = table_rows / sub_centres;
    if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
        bail!("margin softmax: label {label} for {classes} classes");
    }
    let op = Streamed {
        level,
        loss,
        shape: TableShape { rows, size, classes },
        labels: labels.to_vec(),
        seen: std::sync::Arc::default(),
    };
    let seen = op.seen.clone();
    let losses = embeddings.contiguous()?.apply_op2(&table.contiguous()?, op)?;
    let seen = lock(&seen);
    let diagnostics = ClassDiagnostics {
        own_cosine: seen.iter().map(|row| row.own_cosine).collect(),
        nearest: seen.iter().map(|row| row.nearest).collect(),
    };
    Ok((losses, diagnostics))
}

#[derive(Debug, Clone, Copy)]
struct TableShape {
    rows: usize,
    size: usize,
    classes: usize,
}

struct Streamed {
    level: Level,
    loss: MarginSoftmax,
    shape: TableShape,
    labels: Vec<u32>,
    /// Of each row; forward fills it, backward needs it.
    seen: std::sync::Arc<Mutex<Vec<Seen>>>,
}

/// What one row has seen of the classes so far.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Largest logit, and the sum of e^(logit - largest).
    largest: f32,
    sum: f32,
    own_cosine: f32,
    nearest_cosine: f32,
    nearest: u32,
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

impl MarginSoftmax {
    /// The logit of the right class, and its derivative by the cosine.
    fn own_logit(&self, cosine: f32) -> (f32, f32) {
        let (value, slope) = match self.margin {
            Margin::None => (cosine, 1.0),
            Margin::Cosine(margin) => (cosine - margin, 1.0),
            Margin::Angle(margin) => {
                let sine = (1.0 - cosine * cosine).max(0.0).sqrt();
                if cosine > (std::f32::consts::PI - margin).cos() {
                    // d cos(θ + m) / d cos θ = sin(θ + m) / sin θ; at θ = 0 it has no bound.
                    let value = cosine * margin.cos() - sine * margin.sin();
                    (value, margin.cos() + cosine * margin.sin() / sine.max(1e-6))
                } else {
                    (cosine - margin * margin.sin(), 1.0)
                }
            }
        };
        (self.scale * value, self.scale * slope)
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

/// Normalised vectors, and the inverses of the lengths that they had.
struct Directions {
    values: Vec<f32>,
    inverses: Vec<f32>,
}

impl Directions {
    fn of(level: Level, vectors: &[f32], size: usize) -> Self {
        let inverses = inverse_norms(level, vectors, size);
        let mut values = vectors.to_vec();
        for (row, inverse) in values.chunks_mut(size).zip(&inverses) {
            row.iter_mut().for_each(|value| *value *= inverse);
        }
        Self { values, inverses }
    }
}

/// 1 / length of each row; 0 for a vector without direction.
fn inverse_norms(level: Level, vectors: &[f32], size: usize) -> Vec<f32> {
    let inverse = |row: &[f32]| {
        let mut squares = 0.0;
        sum_of_squares(level, row, &mut squares);
        let length = squares.sqrt();
        // A length that is no number stays so, for the loss to show it.
        if length < SHORTEST { 0.0 } else { 1.0 / length }
    };
    vectors.par_chunks(size).map(inverse).collect()
}

dispatch! {
    fn sum_of_squares(values: &[f32], result: &mut f32) {
        *result = sum(values, |value| value * value);
    }
}

dispatch! {
    fn scale_by(factors: &[f32], values: &mut [f32]) {
        values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }
}

dispatch! {
    /// `result` = Σ e^(scale · cosine - largest).
    fn sum_of_powers(cosines: &[f32], scale: f32, largest: f32, result: &mut f32) {
        *result = sum(cosines, |cosine| exp(scale * cosine - largest));
    }
}

dispatch! {
    /// Each cosine becomes factor · e^(scale · cosine - log_sum).
    fn powers(scale: f32, log_sum: f32, factor: f32, cosines: &mut [f32]) {
        cosines.iter_mut().for_each(|cosine| *cosine = factor * exp(scale * *cosine - log_sum));
    }
}

dispatch! {
    /// The gradient by a direction becomes that by the vector: its part across the direction, which is `vector` times
    /// `to_direction`, over the vector's length.
    fn across(vector: &[f32], to_direction: f32, inverse: f32, gradient: &mut [f32]) {
        let mut lanes = [0.0_f32; 16];
        let (pairs, tail) = (vector.chunks_exact(16).zip(gradient.chunks_exact(16)), vector.len() / 16 * 16);
        for (vector, gradient) in pairs {
            for ((lane, v), g) in lanes.iter_mut().zip(vector).zip(gradient) {
                *lane += v * g;
            }
        }
        let rest: f32 = vector[tail..].iter().zip(&gradient[tail..]).map(|(v, g)| v * g).sum();
        let along = (lanes.iter().sum::<f32>() + rest) * to_direction * to_direction;
        for (gradient, vector) in gradient.iter_mut().zip(vector) {
            *gradient = (*gradient - along * vector) * inverse;
        }
    }
}
