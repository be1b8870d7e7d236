//! Matrix products: float32, and bfloat16 with float32 sums.
//!
//! With AVX-512 bfloat16, and float32 where that is faster (see `Kernel::of` and [`Prepared`]), run through tiles of our
//! own: the right matrix is laid out in panels that stay in the second-level cache. Bfloat16 goes through the matrix unit of
//! a CPU that has one (AMX), by the same panels. All else goes to the crate `gemm`;
//! bfloat16, where a CPU cannot multiply it, as float32 numbers that were rounded before: results agree but for the order
//! of their sums.
//!
//! Each element is one sum in one order, whatever the number of threads.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod gemm;
#[cfg(target_arch = "x86_64")]
mod packed;
mod view;
#[cfg(target_arch = "x86_64")]
mod words;

use rayon::prelude::*;

use crate::linear::Precision;
use crate::simd::{Level, dispatch};
use crate::tensors::{repeated, zeros};
pub(crate) use view::View;

/// Rows of one parallel task where rows are copied.
const FILLED_ROWS: usize = 64;

/// What a product does with what stands in its output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Output<'a> {
    /// It is not looked at.
    Overwrite,
    /// The product is added to it.
    Add,
    /// It is not looked at; this row is added to each of the product.
    AddRow(&'a [f32]),
}

/// Whether a product may use the thread pool; inside of a parallel block it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    One,
    All,
}

/// How products are computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Products {
    pub(crate) level: Level,
    pub(crate) precision: Precision,
    pub(crate) threads: Threads,
}

impl Products {
    /// Of float32.
    pub(crate) fn of_floats(level: Level, threads: Threads) -> Self {
        Self { level, precision: Precision::Float32, threads }
    }

    /// `output[m, n] = left[m, k] · right[k, n]`, or added to it; `output` is row-major and contiguous.
    pub(crate) fn multiply(self, left: View, right: View, output: &mut [f32], mode: Output) {
        self.multiply_stack(left, &[right], output, mode);
    }

    /// A new matrix `left · right + row` of the matrices of `right` side by side, `row` being added to each of its rows.
    pub(crate) fn with_row(self, left: View, right: &[View], row: &[f32]) -> Vec<f32> {
        #[cfg(target_arch = "x86_64")]
        if left.columns > 0 && Kernel::of(self.level, self.precision, right).is_some() {
            let mut output = zeros(left.rows * row.len());
            self.multiply_stack(left, right, &mut output, Output::AddRow(row));
            return output;
        }
        // Written once: zeros that are overwritten by the row would be another pass over memory.
        let mut output = repeated(row, left.rows);
        self.multiply_stack(left, right, &mut output, Output::Add);
        output
    }

    /// As [`Self::multiply`] for the matrices of `right` side by side.
    pub(crate) fn multiply_stack(self, left: View, right: &[View], output: &mut [f32], mode: Output) {
        let n = right.iter().map(|part| part.columns).sum::<usize>();
        assert!(right.iter().all(|part| part.rows == left.columns), "matrix sizes");
        assert_eq!(output.len(), left.rows * n, "the size of the product");
        if output.is_empty() {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = Kernel::of(self.level, self.precision, right).filter(|_| left.columns > 0) {
            let right = Right::pack(kernel, right, self.threads);
            return kernel.multiply(left, &right, output, mode, self.threads);
        }
        let mode = match mode {
            Output::AddRow(row) => {
                let fill = |rows: &mut [f32]| rows.chunks_exact_mut(n).for_each(|to| to.copy_from_slice(row));
                match self.threads {
                    Threads::One => fill(output),
                    Threads::All => output.par_chunks_mut(FILLED_ROWS * n).for_each(fill),
                }
                Output::Add
            }
            Output::Overwrite if left.columns == 0 => return output.fill(0.0),
            mode => mode,
        };
        match self.precision {
            Precision::Float32 => multiply_by_gemm(left, right, output, n, mode, self.threads),
            Precision::BFloat16 => {
                let left_values = rounded(self.level, left.values);
                let left = View { values: &left_values, ..left };
                let values: Vec<Vec<f32>> =
                    right.iter().map(|part| rounded(self.level, part.values)).collect();
                let parts = right.iter().zip(&values).map(|(part, values)| View { values, ..*part });
                multiply_by_gemm(left, &parts.collect::<Vec<_>>(), output, n, mode, self.threads);
            }
        }
    }
}

/// A right matrix for many products.
pub(crate) struct Prepared<'a> {
    products: Products,
    matrix: View<'a>,
    #[cfg(target_arch = "x86_64")]
    packed: Option<(Kernel, Right)>,
}

impl<'a> Prepared<'a> {
    /// Lays `matrix` out once.
    pub(crate) fn new(products: Products, matrix: View<'a>) -> Self {
        Self {
            products,
            matrix,
            #[cfg(target_arch = "x86_64")]
            packed: Kernel::available(products.level, products.precision)
                .map(|kernel| (kernel, Right::pack(kernel, &[matrix], products.threads))),
        }
    }

    /// As [`Products::multiply`], inside of a parallel block: on one thread.
    pub(crate) fn multiply(&self, left: View, output: &mut [f32], mode: Output) {
        #[cfg(target_arch = "x86_64")]
        if let Some((kernel, right)) = self.packed.as_ref().filter(|_| !output.is_empty() && left.columns > 0)
        {
            assert_eq!((left.columns, output.len()), (self.matrix.rows, left.rows * self.matrix.columns));
            return kernel.multiply(left, right, output, mode, Threads::One);
        }
        Products { threads: Threads::One, ..self.products }.multiply(left, self.matrix, output, mode);
    }
}

fn multiply_by_gemm(
    left: View,
    right: &[View],
    output: &mut [f32],
    n: usize,
    mode: Output,
    threads: Threads,
) {
    let mut first = 0;
    for part in right {
        gemm::multiply(left, *part, &mut output[first..], n, mode, threads);
        first += part.columns;
    }
}

fn rounded(level: Level, values: &[f32]) -> Vec<f32> {
    let mut rounded = vec![0.0; values.len()];
    round_all(level, values, &mut rounded);
    rounded
}

dispatch! {
    fn round_all(values: &[f32], rounded: &mut [f32]) {
        for (rounded, value) in rounded.iter_mut().zip(values) {
            *rounded = f32::from_bits(round(*value) << 16);
        }
    }
}

/// The upper half of a float32, rounded to nearest, ties to even; not a number stays so.
#[inline(always)]
fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if value.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::granted as matrix_unit_granted;
#[cfg(target_arch = "x86_64")]
use packed::Right;
#[cfg(target_arch = "x86_64")]
use tiled::Kernel;

#[cfg(target_arch = "x86_64")]
mod tiled {
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

        /// Words of the summed dimension that a tile takes before the next one: a panel of the right matrix stays in the
        /// second-level cache with 72 KiB, or for the matrix unit, which would wait for that one, with 36 in the first.
        fn depth(self) -> usize {
            match self {
                Self::Floats | Self::Pairs => 384,
                Self::Registers => 96,
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
                    self.multiply_tiles(
                        left,
                        right,
                        output,
                        n,
                        mode,
                        |left, right, output, place, before| {
                            unit.tile(left, right, output, place, before);
                        },
                    );
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
}

#[cfg(test)]
pub(crate) mod tests;
