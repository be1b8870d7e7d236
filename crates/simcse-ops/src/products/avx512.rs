//! The inner loops of the products: tiles of the output in registers, and the layouts that they read.

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

/// Words of a left matrix: row `i`, step `p` of the summed dimension is `words[i · lane + p · step]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeftTile<'a> {
    pub(super) words: &'a [u32],
    pub(super) lane: usize,
    pub(super) step: usize,
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
                        std::array::from_fn(|row| left.words.as_ptr().add(row.min(place.rows - 1) * left.lane));
                    let mut panel = right.as_ptr();
                    for _ in 0..right.len() / WIDTH {
                        let columns: [_; N] = std::array::from_fn(|i| $load(panel.add(16 * i)));
                        for (row, sums) in rows.iter_mut().zip(&mut sums) {
                            let value = $broadcast(*row);
                            for (sum, column) in sums.iter_mut().zip(columns) {
                                *sum = $multiply_add(*sum, value, column);
                            }
                            *row = row.wrapping_add(left.step);
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
            let last = (rows - 1) * left.lane + steps.saturating_sub(1) * left.step;
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
fn first_lanes(count: usize) -> u16 {
    ((1_u32 << count.min(16)) - 1) as u16
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn bfloat16(words: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits without invalid values.
    unsafe { std::mem::transmute(words) }
}

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

/// Lays rows, two and two, into columns of `words`, whose rows are `lane` words long: word `i · lane + p` is that of
/// `rows[2 p][i]` and `rows[2 p + 1][i]`. Rows that are empty are zeros; those that are there are of one length.
pub(super) fn transpose_pairs(rows: &[&[f32]; 32], words: &mut [u32], lane: usize) {
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn inner(rows: &[&[f32]; 32], words: &mut [u32], lane: usize) {
        for start in (0..rows[0].len()).step_by(16) {
            let mut registers = [_mm512_setzero_si512(); 16];
            for (register, rows) in registers.iter_mut().zip(rows.chunks_exact(2)) {
                // SAFETY: the features are there.
                *register = unsafe { both(rows[0], rows[1], start) };
            }
            let columns = transposed(registers).into_iter().take(rows[0].len() - start);
            for (to, column) in words[start * lane..].chunks_mut(lane).zip(columns) {
                // SAFETY: sixteen words are there, as the slice of them says.
                unsafe { _mm512_storeu_si512(to[..16].as_mut_ptr().cast(), column) };
            }
        }
    }
    // SAFETY: this module is entered only where `Kernel::available` found the features.
    unsafe { inner(rows, words, lane) }
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
