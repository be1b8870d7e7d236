//! The inner loops of the products: tiles of the output in registers.

use std::arch::x86_64::*;

/// Rows of a tile: with [`WIDTH`], 24 of the 32 registers hold sums.
pub(super) const HEIGHT: usize = 8;
/// Columns of a tile, three registers.
pub(super) const WIDTH: usize = 16 * REGISTERS;
const REGISTERS: usize = 3;

/// Where a tile stands in the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// What a tile is added to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Before<'a> {
    Nothing,
    /// What stands in the output.
    Output,
    /// These values, the same for each row.
    Row(&'a [f32]),
}

/// Words of a left matrix: row `i`, step `p` of the summed dimension is `words[i · row_stride + p · step_stride]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeftTile<'a> {
    pub(super) words: &'a [u32],
    pub(super) row_stride: usize,
    pub(super) step_stride: usize,
}

/// Defines a safe function `name(left, right, output, place, before)` that multiplies `right.len() / WIDTH` steps of
/// some rows of a left matrix with a panel of the right one, adds that to `before` and writes a tile of the output.
macro_rules! tile {
    ($(#[$doc:meta])* $name:ident, $features:literal, $broadcast:expr, $load:expr, $multiply_add:expr) => {
        $(#[$doc])*
        pub(super) fn $name(left: LeftTile, right: &[u32], output: &mut [f32], place: Place, before: Before) {
            /// # Safety
            /// The CPU must have the features; indices as asserted below.
            #[target_feature(enable = $features)]
            unsafe fn inner<const N: usize>(
                left: LeftTile,
                right: &[u32],
                output: &mut [f32],
                place: Place,
                before: Before,
            ) {
                let mut sums = [[_mm512_setzero_ps(); N]; HEIGHT];
                // Rows that are not there read those of the last one, and are not written.
                // SAFETY: the caller promises that the rows of `place` lie in `left` and those steps in `right`.
                unsafe {
                    let mut rows: [*const u32; HEIGHT] =
                        std::array::from_fn(|row| left.words.as_ptr().add(row.min(place.rows - 1) * left.row_stride));
                    let mut panel = right.as_ptr();
                    for _ in 0..right.len() / WIDTH {
                        let columns: [_; N] = std::array::from_fn(|i| $load(panel.add(16 * i)));
                        for (row, sums) in rows.iter_mut().zip(&mut sums) {
                            let value = $broadcast(*row);
                            for (sum, column) in sums.iter_mut().zip(columns) {
                                *sum = $multiply_add(*sum, value, column);
                            }
                            *row = row.wrapping_add(left.step_stride);
                        }
                        panel = panel.add(WIDTH);
                    }
                }
                let masks: [u16; N] =
                    std::array::from_fn(|register| first_lanes(place.columns.saturating_sub(16 * register)));
                for (row, sums) in sums.iter().enumerate() {
                    if row == place.rows {
                        break;
                    }
                    for (register, (sum, mask)) in sums.iter().zip(masks).enumerate() {
                        // SAFETY: the caller promises that `place` lies in `output`; lanes beyond its columns are
                        // masked, and an address is only formed by wrapping. A row before has as many columns.
                        unsafe {
                            let target = output.as_mut_ptr().wrapping_add(row * place.stride + 16 * register);
                            let before = match before {
                                Before::Nothing => _mm512_setzero_ps(),
                                Before::Output => _mm512_maskz_loadu_ps(mask, target),
                                Before::Row(row) => {
                                    _mm512_maskz_loadu_ps(mask, row.as_ptr().wrapping_add(16 * register))
                                }
                            };
                            _mm512_mask_storeu_ps(target, mask, _mm512_add_ps(before, *sum));
                        }
                    }
                }
            }
            let Place { stride, rows, columns } = place;
            let steps = right.len() / WIDTH;
            assert!(
                (1..=HEIGHT).contains(&rows) && (1..=WIDTH).contains(&columns) && right.len() == steps * WIDTH,
                "the size of a tile"
            );
            let last = (rows - 1) * left.row_stride + steps.saturating_sub(1) * left.step_stride;
            assert!(last < left.words.len() || steps == 0, "a tile reads inside of the left matrix");
            assert!((rows - 1) * stride + columns <= output.len(), "a tile lies inside of the output");
            if let Before::Row(row) = before {
                assert!(columns <= row.len(), "a row before a tile has its columns");
            }
            // A narrow tile at the edge takes as many registers as it has columns for.
            // SAFETY: this module is entered only where `Kernel::available` found the features; the indices of every
            // access were asserted just now.
            unsafe {
                match columns.div_ceil(16) {
                    1 => inner::<1>(left, right, output, place, before),
                    2 => inner::<2>(left, right, output, place, before),
                    _ => inner::<REGISTERS>(left, right, output, place, before),
                }
            }
        }
    };
}

tile!(
    /// Words are float32.
    tile_of_floats,
    "avx512f",
    |word: *const u32| _mm512_set1_ps(*word.cast()),
    |words: *const u32| _mm512_loadu_ps(words.cast()),
    |sum, value, column| _mm512_fmadd_ps(value, column, sum)
);

tile!(
    /// Words are two successive bfloat16, the earlier in the lower half.
    tile_of_pairs,
    "avx512f,avx512bf16",
    |word: *const u32| bfloat16(_mm512_set1_epi32(*word.cast())),
    |words: *const u32| bfloat16(_mm512_loadu_si512(words.cast())),
    |sum, value, column| _mm512_dpbf16_ps(sum, value, column)
);

/// A mask of the first `count` of sixteen lanes.
pub(super) fn first_lanes(count: usize) -> u16 {
    ((1_u32 << count.min(16)) - 1) as u16
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn bfloat16(words: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits without invalid values.
    unsafe { std::mem::transmute(words) }
}
