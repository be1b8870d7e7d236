//! Matrix products of bfloat16 numbers with float32 sums.
//!
//! Both matrices are rounded to bfloat16 (to nearest, ties to even) and laid out in panels: two successive values
//! of the summed dimension stand in one 32-bit word, as `vdpbf16ps` of AVX512-BF16 reads them. Where the machine
//! lacks that instruction the same rounded numbers go through the float32 product, so results agree but for the
//! order of their float32 sums.

mod panels;
mod tile;

use rayon::prelude::*;

use crate::matmul::{Output, Threads, View, multiply};
use crate::simd::Level;
use panels::{Lanes, Panels, rounded};
use tile::{HEIGHT, Place, WIDTH, tile};

/// Pairs of the summed dimension that a tile takes before the next one: a panel of the right matrix, 36 KiB, stays
/// in the first-level cache.
const DEPTH: usize = 192;
/// Most rows of one task.
const MOST_ROWS: usize = 64;

/// `output[m, n] = left[m, k] · right[k, n]` of rounded numbers, or added to it; as [`multiply`].
///
/// Each element is one sum in one order, whatever the number of threads.
pub(crate) fn multiply_rounded(
    level: Level,
    left: View,
    right: View,
    output: &mut [f32],
    mode: Output,
    threads: Threads,
) {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    assert_eq!((right.rows, output.len()), (k, m * n), "matrix sizes");
    if !has_dot_product(level) {
        let (left_values, right_values) = (rounded(level, left.values), rounded(level, right.values));
        let left = View { values: &left_values, ..left };
        let right = View { values: &right_values, ..right };
        return multiply(left, right, output, mode, threads);
    }
    if m == 0 || n == 0 {
        return;
    }
    if mode == Output::Overwrite && k == 0 {
        output.fill(0.0);
    }
    let lanes_of_right = Lanes { values: right.values, lane: right.column_stride, step: right.row_stride };
    let lanes_of_left = Lanes { values: left.values, lane: left.row_stride, step: left.column_stride };
    let right = Panels::<WIDTH>::pack(level, lanes_of_right, n, k, threads);
    let left = Panels::<HEIGHT>::pack(level, lanes_of_left, m, k, threads);
    let rows = rows_of_task(m, threads);
    let task = |(task, output): (usize, &mut [f32])| {
        multiply_rows(&left, task * rows / HEIGHT, &right, output, n, mode);
    };
    match threads {
        Threads::One => output.chunks_mut(rows * n).enumerate().for_each(task),
        Threads::All => output.par_chunks_mut(rows * n).enumerate().for_each(task),
    }
}

/// Whether `vdpbf16ps` is there, and the level allows it.
fn has_dot_product(level: Level) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        level.supported() == Level::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = level;
        false
    }
}

/// Some tasks for every thread, of whole tiles.
fn rows_of_task(m: usize, threads: Threads) -> usize {
    let workers = match threads {
        Threads::One => 1,
        Threads::All => rayon::current_num_threads(),
    };
    m.div_ceil(4 * workers).next_multiple_of(HEIGHT).min(MOST_ROWS)
}

/// One task: some rows of the output, all of its columns.
fn multiply_rows(
    left: &Panels<HEIGHT>,
    first_panel: usize,
    right: &Panels<WIDTH>,
    output: &mut [f32],
    n: usize,
    mode: Output,
) {
    let rows = output.len() / n;
    for start in (0..right.pairs).step_by(DEPTH) {
        let end = (start + DEPTH).min(right.pairs);
        let add = mode == Output::Add || start > 0;
        for column_panel in 0..n.div_ceil(WIDTH) {
            let column = column_panel * WIDTH;
            for row_panel in 0..rows.div_ceil(HEIGHT) {
                let row = row_panel * HEIGHT;
                let place = Place { stride: n, rows: HEIGHT.min(rows - row), columns: WIDTH.min(n - column) };
                tile(
                    left.part(first_panel + row_panel, start, end),
                    right.part(column_panel, start, end),
                    &mut output[row * n + column..],
                    place,
                    add,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::panels::round;
    use super::*;
    use crate::matmul::tests::numbers;

    fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect()
    }

    /// Values, and which way they lie.
    fn view(values: &[f32], rows: usize, columns: usize, is_transposed: bool) -> View<'_> {
        if is_transposed {
            View::new(values, columns, rows).transposed()
        } else {
            View::new(values, rows, columns)
        }
    }

    /// Every layout, mode and level against a float64 triple loop over rounded numbers; sizes around those of a
    /// tile, of a task and of a block of the summed dimension.
    #[test]
    fn products_equal_the_triple_loop_of_rounded_numbers() {
        let sizes =
            [(1, 1, 1), (8, 2, 48), (9, 3, 49), (7, 5, 15), (65, 400, 97), (130, 33, 16), (16, 385, 33)];
        for (m, k, n) in sizes {
            let (left, right) = (numbers(m * k, 1), numbers(k * n, 2));
            let (left_turned, right_turned) = (transposed(&left, m, k), transposed(&right, k, n));
            let exact = |value: f32| f64::from(f32::from_bits(round(value) << 16));
            let want: Vec<f64> = (0..m * n)
                .map(|i| (0..k).map(|p| exact(left[i / n * k + p]) * exact(right[p * n + i % n])).sum())
                .collect();
            for level in Level::available() {
                for (turn_left, turn_right) in [(false, false), (false, true), (true, false), (true, true)] {
                    let left = view(if turn_left { &left_turned } else { &left }, m, k, turn_left);
                    let right = view(if turn_right { &right_turned } else { &right }, k, n, turn_right);
                    let mut output = vec![f32::NAN; m * n];
                    multiply_rounded(level, left, right, &mut output, Output::Overwrite, Threads::All);
                    multiply_rounded(level, left, right, &mut output, Output::Add, Threads::One);
                    for (i, got) in output.iter().enumerate() {
                        let error = (f64::from(*got) - 2.0 * want[i]).abs();
                        assert!(
                            error < 2e-6 * (k as f64).sqrt() + 1e-7,
                            "{m} {k} {n} {level:?} {i}: {error}"
                        );
                    }
                }
            }
        }
    }

    /// Values worked out by hand from the bits: ties go to the even neighbour.
    #[test]
    fn rounding_is_to_nearest_and_keeps_what_is_no_number() {
        let upper = |bits: u32| round(f32::from_bits(bits));
        assert_eq!([upper(0x3f80_8000), upper(0x3f81_8000), upper(0x3f80_8001)], [0x3f80, 0x3f82, 0x3f81]);
        assert_eq!([upper(0x7f80_0000), upper(0xff80_0000), upper(0x7f7f_ffff)], [0x7f80, 0xff80, 0x7f80]);
        assert!([0x7f80_0001, 0x7fff_ffff, 0xffff_ffff].map(upper).iter().all(|u| u & 0x7fff > 0x7f80));
    }

    #[test]
    fn a_number_that_is_none_spoils_its_row_and_nothing_else() {
        let mut left = numbers(3 * 4, 1);
        left[5] = f32::NAN;
        let right = numbers(4 * 2, 2);
        for level in Level::available() {
            let mut output = vec![0.0; 6];
            let (left, right) = (View::new(&left, 3, 4), View::new(&right, 4, 2));
            multiply_rounded(level, left, right, &mut output, Output::Overwrite, Threads::One);
            assert_eq!(
                output.iter().map(|v| v.is_nan()).collect::<Vec<_>>(),
                [false, false, true, true, false, false]
            );
        }
    }

    #[test]
    fn nothing_to_sum_gives_zero() {
        let mut output = vec![1.0; 6];
        for level in Level::available() {
            let (left, right) = (View::new(&[], 3, 0), View::new(&[], 0, 2));
            multiply_rounded(level, left, right, &mut output, Output::Add, Threads::One);
            assert_eq!(output, [1.0; 6]);
            let mut output = vec![1.0; 6];
            multiply_rounded(level, left, right, &mut output, Output::Overwrite, Threads::One);
            assert_eq!(output, [0.0; 6]);
        }
    }
}
