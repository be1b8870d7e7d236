//! Matrix products of bfloat16 numbers with float32 sums.
//!
//! Both matrices are rounded to bfloat16 (to nearest, ties to even) and laid out in panels: two successive values
//! of the summed dimension stand in one 32-bit word, as `vdpbf16ps` of AVX512-BF16 reads them. Where the machine
//! lacks that instruction the same rounded numbers go through the float32 product, so results agree but for the
//! order of their float32 sums.

use rayon::prelude::*;

use crate::matmul::{Output, Threads, View, multiply};
use crate::simd::{Level, dispatch};

/// Rows of a tile: with [`WIDTH`], 24 of the 32 registers hold sums.
const HEIGHT: usize = 8;
/// Columns of a tile, three registers.
const WIDTH: usize = 48;
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

/// Where a tile stands in the output.
#[derive(Debug, Clone, Copy)]
struct Place {
    stride: usize,
    rows: usize,
    columns: usize,
}

#[cfg(target_arch = "x86_64")]
fn tile(left: &[u32], right: &[u32], output: &mut [f32], place: Place, add: bool) {
    let Place { stride, rows, columns } = place;
    assert_eq!(left.len() * WIDTH, right.len() * HEIGHT, "panels of one depth");
    assert!(
        rows <= HEIGHT && columns <= WIDTH && (rows - 1) * stride + columns <= output.len(),
        "a tile lies inside of the output"
    );
    // SAFETY: tiles are only made where `has_dot_product` found AVX-512 F and BF16. The panels hold HEIGHT and
    // WIDTH words for each of the same number of pairs, and `rows` rows of `columns` values at `stride` lie inside
    // `output` (all asserted); rows and columns beyond them are masked.
    unsafe { avx512::tile(left, right, output, place, add) }
}

#[cfg(not(target_arch = "x86_64"))]
fn tile(_left: &[u32], _right: &[u32], _output: &mut [f32], _place: Place, _add: bool) {
    unreachable!("has_dot_product is false here");
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{HEIGHT, Place, WIDTH};
    use std::arch::x86_64::*;

    const REGISTERS: usize = WIDTH / 16;

    /// Multiplies two panels into a tile of `output`, or adds to it.
    ///
    /// # Safety
    /// The CPU must have AVX-512 F and BF16; `left` and `right` must hold `HEIGHT` and `WIDTH` words for each of
    /// the same number of pairs; `place` must lie inside `output`.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn tile(left: &[u32], right: &[u32], output: &mut [f32], place: Place, add: bool) {
        let mut sums = [[_mm512_setzero_ps(); REGISTERS]; HEIGHT];
        let (mut left_pairs, mut right_pairs) = (left.as_ptr(), right.as_ptr());
        for _ in 0..left.len() / HEIGHT {
            // SAFETY: the caller promises HEIGHT and WIDTH words for every pair.
            unsafe {
                let columns: [__m512bh; REGISTERS] =
                    std::array::from_fn(|i| bfloat16(_mm512_loadu_si512(right_pairs.add(16 * i).cast())));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = bfloat16(_mm512_set1_epi32(*left_pairs.add(row) as i32));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_dpbf16_ps(*sum, value, column);
                    }
                }
                left_pairs = left_pairs.add(HEIGHT);
                right_pairs = right_pairs.add(WIDTH);
            }
        }
        let mask = |register: usize| -> u16 {
            let columns = place.columns.saturating_sub(16 * register).min(16);
            ((1_u32 << columns) - 1) as u16
        };
        for (row, sums) in sums.iter().enumerate().take(place.rows) {
            for (register, sum) in sums.iter().enumerate() {
                let mask = mask(register);
                if mask == 0 {
                    continue;
                }
                // SAFETY: the caller promises that `place.rows` rows of `place.columns` values lie inside
                // `output`; this register begins before the last of them, and lanes beyond are masked.
                unsafe {
                    let target = output.as_mut_ptr().add(row * place.stride + 16 * register);
                    let before = if add { _mm512_maskz_loadu_ps(mask, target) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(target, mask, _mm512_add_ps(before, *sum));
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn bfloat16(words: __m512i) -> __m512bh {
        // SAFETY: both are 512 bits without invalid values.
        unsafe { std::mem::transmute(words) }
    }
}

/// A matrix by lanes (rows of a left matrix, columns of a right one) and steps along the summed dimension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes<'a> {
    values: &'a [f32],
    lane: usize,
    step: usize,
}

/// A rounded matrix: panels of `LANES` lanes, in each `[pairs, LANES]` words of two values. What lies beyond the
/// matrix is zero.
struct Panels<const LANES: usize> {
    words: Vec<u32>,
    pairs: usize,
}

impl<const LANES: usize> Panels<LANES> {
    fn pack(level: Level, source: Lanes, lanes: usize, steps: usize, threads: Threads) -> Self {
        let pairs = steps.div_ceil(2);
        let mut words = vec![0; lanes.div_ceil(LANES) * LANES * pairs];
        let pack = |(panel, words): (usize, &mut [u32])| {
            let first = panel * LANES;
            let here = Lanes { values: &source.values[first * source.lane..], ..source };
            pack_panel(level, here, LANES.min(lanes - first), steps, LANES, words);
        };
        match threads {
            _ if words.is_empty() => {}
            Threads::One => words.chunks_mut(LANES * pairs).enumerate().for_each(pack),
            Threads::All => words.par_chunks_mut(LANES * pairs).enumerate().for_each(pack),
        }
        Self { words, pairs }
    }

    /// Some pairs of a panel.
    fn part(&self, panel: usize, start: usize, end: usize) -> &[u32] {
        let first = panel * self.pairs;
        &self.words[(first + start) * LANES..(first + end) * LANES]
    }
}

dispatch! {
    /// Packs one panel; `words` is `[pairs, width]` and zero.
    fn pack_panel(source: Lanes, lanes: usize, steps: usize, width: usize, words: &mut [u32]) {
        if source.lane == 1 {
            for (pair, words) in words.chunks_exact_mut(width).enumerate() {
                let first = &source.values[2 * pair * source.step..][..lanes];
                if 2 * pair + 1 < steps {
                    let second = &source.values[(2 * pair + 1) * source.step..][..lanes];
                    for ((word, low), high) in words.iter_mut().zip(first).zip(second) {
                        *word = round(*low) | round(*high) << 16;
                    }
                } else {
                    words.iter_mut().zip(first).for_each(|(word, low)| *word = round(*low));
                }
            }
        } else if source.step == 1 {
            for lane in 0..lanes {
                let row = &source.values[lane * source.lane..][..steps];
                let places = words[lane..].iter_mut().step_by(width);
                for (word, pair) in places.zip(row.chunks(2)) {
                    *word = round(pair[0]) | pair.get(1).map_or(0, |high| round(*high) << 16);
                }
            }
        } else {
            for (pair, words) in words.chunks_exact_mut(width).enumerate() {
                for (lane, word) in words.iter_mut().enumerate().take(lanes) {
                    let value = |step: usize| source.values[lane * source.lane + step * source.step];
                    let high = if 2 * pair + 1 < steps { round(value(2 * pair + 1)) << 16 } else { 0 };
                    *word = round(value(2 * pair)) | high;
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        (0..count as u32)
            .map(|i| simcse_random::uniform_bits(seed, i) as f32 / u32::MAX as f32 - 0.5)
            .collect()
    }

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
