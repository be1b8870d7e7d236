//! Rows laid out as tiles read them, rounded to bfloat16 where the words are pairs.

use std::arch::x86_64::*;

use super::avx512::{HEIGHT, WIDTH, first_lanes};

/// Up to 32 floats as 16 words of rounded pairs; what is not there is zero.
///
/// # Safety
/// The CPU must have AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn load_pairs(values: &[f32]) -> __m512i {
    let second = values.len().saturating_sub(16);
    // SAFETY: masked lanes are not read, the others lie in the slice; both vector types are 512 bits.
    unsafe {
        let low = _mm512_maskz_loadu_ps(first_lanes(values.len()), values.as_ptr());
        let high = _mm512_maskz_loadu_ps(first_lanes(second), values.as_ptr().wrapping_add(16));
        std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// Rounds successive values to bfloat16: words of two, the last one filled up with a zero.
pub(super) fn round_row(values: &[f32], words: &mut [u32]) {
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn inner(values: &[f32], words: &mut [u32]) {
        for (values, words) in values.chunks(32).zip(words.chunks_mut(16)) {
            // SAFETY: the features are there; lanes beyond the words are masked.
            unsafe {
                let pairs = load_pairs(values);
                _mm512_mask_storeu_epi32(words.as_mut_ptr().cast(), first_lanes(words.len()), pairs);
            }
        }
    }
    assert_eq!(words.len(), values.len().div_ceil(2), "words of pairs");
    // SAFETY: this module is entered only where `Kernel::available` found the features.
    unsafe { inner(values, words) }
}

/// Rounds two rows to bfloat16 and lays them side by side: word `i` holds `low[i]` and `high[i]`, or zero where
/// there is no `high`.
pub(super) fn interleave(low: &[f32], high: &[f32], words: &mut [u32]) {
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn inner(low: &[f32], high: &[f32], words: &mut [u32]) {
        for start in (0..words.len()).step_by(16) {
            let mask = first_lanes(words.len() - start);
            // SAFETY: the features are there; lanes beyond the words are masked.
            unsafe {
                _mm512_mask_storeu_epi32(words.as_mut_ptr().add(start).cast(), mask, both(low, high, start));
            }
        }
    }
    assert!(low.len() == words.len() && (high.is_empty() || high.len() == words.len()), "rows of one length");
    // SAFETY: this module is entered only where `Kernel::available` found the features.
    unsafe { inner(low, high, words) }
}

/// As [`interleave`], cut into pieces of [`HEIGHT`] words that lie `stride` words apart; the last piece is filled up
/// with zeros.
pub(super) fn interleave_panels(low: &[f32], high: &[f32], words: &mut [u32], stride: usize) {
    #[target_feature(enable = "avx512f,avx512bf16,avx512vl")]
    unsafe fn inner(low: &[f32], high: &[f32], words: &mut [u32], stride: usize) {
        let pieces = low.len().div_ceil(HEIGHT);
        for pair in 0..pieces.div_ceil(2) {
            // SAFETY: the features are there; a piece of `HEIGHT` words at `piece * stride` lies inside of the words
            // for all pieces (asserted below).
            unsafe {
                let both = both(low, high, 16 * pair);
                let first = words.as_mut_ptr().add(2 * pair * stride);
                _mm256_storeu_si256(first.cast(), _mm512_castsi512_si256(both));
                if 2 * pair + 1 < pieces {
                    _mm256_storeu_si256(first.add(stride).cast(), _mm512_extracti64x4_epi64::<1>(both));
                }
            }
        }
    }
    let pieces = low.len().div_ceil(HEIGHT);
    assert!(high.is_empty() || high.len() == low.len(), "rows of one length");
    assert!(pieces == 0 || (pieces - 1) * stride + HEIGHT <= words.len(), "pieces lie inside of the words");
    // SAFETY: this module is entered only where `Kernel::available` found the features.
    unsafe { inner(low, high, words, stride) }
}

/// Sixteen words of `low[start + i]` and `high[start + i]`; zero where there is none.
///
/// # Safety
/// The CPU must have AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn both(low: &[f32], high: &[f32], start: usize) -> __m512i {
    let half = |values: &[f32]| {
        let mask = first_lanes(values.len().saturating_sub(start));
        // SAFETY: masked lanes are not read, the others lie in the slice; both vector types are 256 bits.
        let rounded: __m256i = unsafe {
            let values = _mm512_maskz_loadu_ps(mask, values.as_ptr().wrapping_add(start));
            std::mem::transmute(_mm512_cvtneps_pbh(values))
        };
        _mm512_cvtepu16_epi32(rounded)
    };
    _mm512_or_si512(half(low), _mm512_slli_epi32::<16>(half(high)))
}

/// Lays up to sixteen rows into columns of `panel` (rows of [`WIDTH`] words, the first row's column the first): word
/// `(step, i)` is that of step `step` of `rows[i]`.
pub(super) fn transpose(rows: &[&[f32]], in_pairs: bool, panel: &mut [u32]) {
    #[target_feature(enable = "avx512f")]
    unsafe fn floats(values: &[f32]) -> __m512i {
        // SAFETY: masked lanes are not read, the others lie in the slice.
        unsafe { _mm512_maskz_loadu_epi32(first_lanes(values.len()), values.as_ptr().cast()) }
    }
    #[target_feature(enable = "avx512f")]
    unsafe fn inner(rows: &[&[f32]], in_pairs: bool, panel: &mut [u32]) {
        let length = rows[0].len();
        let values = if in_pairs { 32 } else { 16 };
        let mask = first_lanes(rows.len());
        for (block, start) in (0..length).step_by(values).enumerate() {
            let end = (start + values).min(length);
            let mut registers = [_mm512_setzero_si512(); 16];
            for (register, row) in registers.iter_mut().zip(rows) {
                let part = &row[start..end];
                // SAFETY: the features are there (those of bfloat16 where pairs are asked for).
                *register = unsafe { if in_pairs { load_pairs(part) } else { floats(part) } };
            }
            let steps = if in_pairs { (end - start).div_ceil(2) } else { end - start };
            for (step, column) in transposed(registers).into_iter().enumerate().take(steps) {
                let target = &mut panel[(16 * block + step) * WIDTH..][..rows.len()];
                // SAFETY: lanes beyond the rows are masked.
                unsafe { _mm512_mask_storeu_epi32(target.as_mut_ptr().cast(), mask, column) };
            }
        }
    }
    assert!(
        (1..=16).contains(&rows.len()) && rows.iter().all(|row| row.len() == rows[0].len()),
        "sixteen rows"
    );
    // SAFETY: this module is entered only where `Kernel::available` found the features.
    unsafe { inner(rows, in_pairs, panel) }
}

/// Lays rows, two and two, into columns of `words`, whose rows are `length` words long: word `i · length + p` is that of
/// `rows[2 p][i]` and `rows[2 p + 1][i]`. Rows that are empty are zeros; those that are there are of one length.
pub(super) fn transpose_pairs(rows: &[&[f32]; 32], words: &mut [u32], length: usize) {
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn inner(rows: &[&[f32]; 32], words: &mut [u32], length: usize) {
        for start in (0..rows[0].len()).step_by(16) {
            let mut registers = [_mm512_setzero_si512(); 16];
            for (register, rows) in registers.iter_mut().zip(rows.chunks_exact(2)) {
                // SAFETY: the features are there.
                *register = unsafe { both(rows[0], rows[1], start) };
            }
            let columns = transposed(registers).into_iter().take(rows[0].len() - start);
            for (to, column) in words[start * length..].chunks_mut(length).zip(columns) {
                // SAFETY: sixteen words are there, as the slice of them says.
                unsafe { _mm512_storeu_si512(to[..16].as_mut_ptr().cast(), column) };
            }
        }
    }
    // SAFETY: this module is entered only where `Kernel::available` found the features.
    unsafe { inner(rows, words, length) }
}

/// Rows and columns of 16 x 16 words exchanged.
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut quads = [_mm512_setzero_si512(); 16];
    // Register `4 g + c` of `quads`: in its part `l` of 128 bits, column `4 l + c` of rows `4 g` to `4 g + 3`.
    for (quads, rows) in quads.chunks_exact_mut(4).zip(rows.chunks_exact(4)) {
        let low = [_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])];
        let high = [_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])];
        quads[0] = _mm512_unpacklo_epi64(low[0], low[1]);
        quads[1] = _mm512_unpackhi_epi64(low[0], low[1]);
        quads[2] = _mm512_unpacklo_epi64(high[0], high[1]);
        quads[3] = _mm512_unpackhi_epi64(high[0], high[1]);
    }
    let mut columns = [_mm512_setzero_si512(); 16];
    for c in 0..4 {
        let even = [
            _mm512_shuffle_i32x4::<0x88>(quads[c], quads[4 + c]),
            _mm512_shuffle_i32x4::<0x88>(quads[8 + c], quads[12 + c]),
        ];
        let odd = [
            _mm512_shuffle_i32x4::<0xdd>(quads[c], quads[4 + c]),
            _mm512_shuffle_i32x4::<0xdd>(quads[8 + c], quads[12 + c]),
        ];
        columns[c] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
        columns[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
        columns[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
    }
    columns
}
