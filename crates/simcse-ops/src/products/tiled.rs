//! Products cut into tiles: which kernel, how large the pieces, in which order.

use std::ops::Range;

use rayon::prelude::*;

use super::amx::{self, MatrixUnit};
use super::avx512::{self, Before, LeftTile, Place, WIDTH, tile_of_floats, tile_of_pairs};
use super::packed::{Left, Right};
use super::{Output, Threads, View};
use crate::linear::Precision;
use crate::simd::Level;

/// Values of a page of memory.
const PAGE: usize = 1024;
/// Most rows of one task: in bfloat16 those of a left matrix then stay in the second-level cache, too.
const MOST_ROWS: usize = 128;

/// What a word of a packed matrix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// A float32.
    Floats,
    /// Two successive bfloat16.
    Pairs,
    /// The same, for the matrix unit: the words of a row are filled up to whole registers.
    Registers,
}

impl Kernel {
    /// The tiles of a precision, where they are the faster way.
    ///
    /// `gemm` is as fast for float32, unless the columns of the right matrix begin at the same place of each
    /// page of memory: then they drive each other out of its cache, at half the rate.
    pub(super) fn of(level: Level, precision: Precision, right: &[View]) -> Option<Self> {
        let collides = |part: &View| part.column_stride.is_multiple_of(PAGE);
        Self::available(level, precision)
            .filter(|kernel| *kernel != Self::Floats || right.iter().any(collides))
    }

    /// The tiles of a precision, where the machine has the instructions.
    pub(super) fn available(level: Level, precision: Precision) -> Option<Self> {
        match (level.supported(), precision) {
            (Level::Portable | Level::Avx2, _) => None,
            (_, Precision::Float32) => Some(Self::Floats),
            (Level::Avx512, Precision::BFloat16) => {
                is_x86_feature_detected!("avx512bf16").then_some(Self::Pairs)
            }
            (Level::Amx, Precision::BFloat16) => Some(Self::Registers),
        }
    }

    fn values_of_word(self) -> usize {
        match self {
            Self::Floats => 1,
            Self::Pairs | Self::Registers => 2,
        }
    }

    /// Words that hold this many values of the summed dimension.
    pub(super) fn words(self, values: usize) -> usize {
        values.div_ceil(self.values_of_word())
    }

    /// Words that a packed matrix has for this many values: those beyond [`Self::words`] are zero.
    pub(super) fn steps(self, values: usize) -> usize {
        match self {
            Self::Floats | Self::Pairs => self.words(values),
            Self::Registers => self.words(values).next_multiple_of(amx::REGISTER),
        }
    }

    /// Rows of a tile.
    pub(super) fn height(self) -> usize {
        match self {
            Self::Floats | Self::Pairs => avx512::HEIGHT,
            Self::Registers => amx::HEIGHT,
        }
    }

    /// Words of the summed dimension that a tile takes before the next one: a panel of the right matrix, 72 KiB, stays in
    /// the second-level cache. The matrix unit would wait for that one; 24 KiB and a part of the left matrix stay in the
    /// first.
    fn depth(self) -> usize {
        match self {
            Self::Floats | Self::Pairs => 384,
            Self::Registers => 128,
        }
    }

    pub(super) fn multiply(
        self,
        left: View,
        right: &Right,
        output: &mut [f32],
        mode: Output,
        threads: Threads,
    ) {
        let n = output.len() / left.rows;
        let rows = self.rows_of_task(left.rows, threads);
        let task = |(task, output): (usize, &mut [f32])| {
            let left = left.middle_rows(task * rows, output.len() / n);
            self.multiply_rows(left, right, output, n, mode);
        };
        match threads {
            Threads::One => output.chunks_mut(rows * n).enumerate().for_each(task),
            Threads::All => output.par_chunks_mut(rows * n).enumerate().for_each(task),
        }
    }

    /// One task: some rows of the output, all of its columns.
    fn multiply_rows(self, left: View, right: &Right, output: &mut [f32], n: usize, mode: Output) {
        match self {
            Self::Floats => self.multiply_tiles(left, right, output, n, mode, tile_of_floats),
            Self::Pairs => self.multiply_tiles(left, right, output, n, mode, tile_of_pairs),
            Self::Registers => {
                let unit = MatrixUnit::configured();
                self.multiply_tiles(left, right, output, n, mode, |left, right, output, place, before| {
                    unit.tile(left, right, output, place, before);
                });
            }
        }
    }

    fn multiply_tiles(
        self,
        left: View,
        right: &Right,
        output: &mut [f32],
        n: usize,
        mode: Output,
        tile: impl Fn(LeftTile, &[u32], &mut [f32], Place, Before),
    ) {
        let (values_of_word, height) = (self.values_of_word(), self.height());
        let steps = (0..right.steps).step_by(self.depth());
        let blocks: Vec<_> = steps.map(|start| start..(start + self.depth()).min(right.steps)).collect();
        let pack = |steps: &Range<usize>| {
            let (start, end) = (steps.start * values_of_word, steps.end * values_of_word);
            Left::pack(self, left.middle_columns(start, end.min(left.columns) - start))
        };
        let packed: Vec<_> = blocks.iter().map(pack).collect();
        // The sums of a panel's columns stay in a cache until they are whole.
        for column in (0..n).step_by(WIDTH) {
            for (steps, block) in blocks.iter().zip(&packed) {
                let panel = right.part(column / WIDTH, steps.start, steps.end);
                let before = match mode {
                    _ if steps.start > 0 => Before::Output,
                    Output::Overwrite => Before::Nothing,
                    Output::Add => Before::Output,
                    Output::AddRow(row) => Before::Row(&row[column..]),
                };
                for row in (0..left.rows).step_by(height) {
                    let (rows, columns) = (height.min(left.rows - row), WIDTH.min(n - column));
                    let place = Place { stride: n, rows, columns };
                    tile(block.part(row / height), panel, &mut output[row * n + column..], place, before);
                }
            }
        }
    }

    /// Two tasks for every thread or more, of whole tiles.
    fn rows_of_task(self, m: usize, threads: Threads) -> usize {
        let workers = match threads {
            Threads::One => 1,
            Threads::All => rayon::current_num_threads(),
        };
        m.div_ceil(2 * workers).next_multiple_of(self.height()).min(MOST_ROWS)
    }
}
