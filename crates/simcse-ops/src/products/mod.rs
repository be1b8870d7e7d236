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
mod layouts;
#[cfg(target_arch = "x86_64")]
mod packed;
#[cfg(target_arch = "x86_64")]
mod tiled;
mod view;
#[cfg(target_arch = "x86_64")]
mod words;

use rayon::prelude::*;

use crate::linear::Precision;
use crate::simd::{Level, dispatch};
use crate::tensors::{repeated, zeros};
#[cfg(target_arch = "x86_64")]
pub(crate) use amx::granted as matrix_unit_granted;
#[cfg(target_arch = "x86_64")]
use packed::Right;
#[cfg(target_arch = "x86_64")]
use tiled::Kernel;
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

#[cfg(test)]
pub(crate) mod tests;
