//! One tile of the output, in registers.

/// Rows of a tile: with [`WIDTH`], 24 of the 32 registers hold sums.
pub(super) const HEIGHT: usize = 8;
/// Columns of a tile, three registers.
pub(super) const WIDTH: usize = 48;
/// Where a tile stands in the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

#[cfg(target_arch = "x86_64")]
pub(super) fn tile(left: &[u32], right: &[u32], output: &mut [f32], place: Place, add: bool) {
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
pub(super) fn tile(_left: &[u32], _right: &[u32], _output: &mut [f32], _place: Place, _add: bool) {
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
