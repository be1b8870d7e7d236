//! Run-time dispatch and the few loops that are worth intrinsics.
//!
//! One binary runs everywhere: the level is detected once. `SIMCSE_SIMD=amx|avx512|avx2|portable` lowers it
//! (for tests and for comparing); a level that the machine lacks is never taken.

use std::sync::OnceLock;

/// An instruction set that the kernels have a form for, best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F/VL/BW/DQ.
    Avx512,
    /// AVX-512 with BF16, and the matrix unit AMX for products in bfloat16.
    Amx,
}

impl Level {
    const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Amx];

    /// As `SIMCSE_SIMD` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// The level in use: the best that the machine has, lowered by `SIMCSE_SIMD`.
    ///
    /// # Panics
    /// If `SIMCSE_SIMD` names no level: taking another would compare a level with itself.
    pub fn current() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| {
            let Some(wish) = std::env::var_os("SIMCSE_SIMD") else { return Self::Amx.supported() };
            let named = Self::ALL.into_iter().find(|level| wish == level.name());
            match named {
                Some(level) => level.supported(),
                None => panic!(
                    "SIMCSE_SIMD={wish:?} is no level; fix: set amx, avx512, avx2 or portable, or unset it"
                ),
            }
        })
    }

    /// Every level that this machine can run, for tests.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|level| *level == level.supported()).collect()
    }

    /// This level, or the best that the machine has if that is lower: a caller may name any level.
    #[inline]
    pub(crate) fn supported(self) -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        self.min(*BEST.get_or_init(Self::best))
    }

    #[cfg(target_arch = "x86_64")]
    fn best() -> Self {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        let amx = || is_x86_feature_detected!("avx512bf16") && crate::products::matrix_unit_granted();
        match (avx2, avx512) {
            (true, true) if amx() => Self::Amx,
            (true, true) => Self::Avx512,
            (true, false) => Self::Avx2,
            _ => Self::Portable,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Self {
        Self::Portable
    }
}

/// Defines `pub(crate) fn name(level, …)` that runs `body` compiled for the level: the body is inlined into
/// one function for each instruction set, where the compiler turns its loops into SIMD code.
macro_rules! dispatch {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident : $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name(level: $crate::simd::Level, $($argument: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "a kernel's inner loop")]
            fn body($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "a kernel's inner loop")]
                fn avx2($($argument: $type),*) { body($($argument),*) }
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "a kernel's inner loop")]
                fn avx512($($argument: $type),*) { body($($argument),*) }
                match level.supported() {
                    // SAFETY: `supported` gives a level above `Portable` only after the CPU was asked for its
                    // features.
                    $crate::simd::Level::Avx512 | $crate::simd::Level::Amx => unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => unsafe { avx2($($argument),*) },
                    $crate::simd::Level::Portable => body($($argument),*),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = level;
                body($($argument),*)
            }
        }
    };
}
pub(crate) use dispatch;

/// One term of a sparse sum of rows: `coefficient` times the row that starts at element `start`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term {
    pub(crate) coefficient: f32,
    pub(crate) start: usize,
}

/// `row += Σ coefficient · source[start..start + row.len()]`, in the order of the terms.
pub(crate) fn gather_rows(level: Level, terms: &[Term], source: &[f32], row: &mut [f32]) {
    assert!(
        terms.iter().all(|term| term.start + row.len() <= source.len()),
        "a term lies outside the source"
    );
    #[cfg(target_arch = "x86_64")]
    if level.supported() >= Level::Avx512 {
        // SAFETY: `supported` says that AVX-512 F is there; all terms lie inside `source` (asserted).
        return unsafe { avx512::gather_rows(terms, source, row) };
    }
    add_terms(level, terms, source, row);
}

/// `target[start..start + row.len()] += coefficient · row` for every term, in order.
pub(crate) fn scatter_row(level: Level, terms: &[Term], row: &[f32], target: &mut [f32]) {
    assert!(
        terms.iter().all(|term| term.start + row.len() <= target.len()),
        "a term lies outside the target"
    );
    #[cfg(target_arch = "x86_64")]
    if level.supported() >= Level::Avx512 {
        // SAFETY: `supported` says that AVX-512 F is there; all terms lie inside `target` (asserted).
        return unsafe { avx512::scatter_row(terms, row, target) };
    }
    spread_row(level, terms, row, target);
}

dispatch! {
    fn add_terms(terms: &[Term], source: &[f32], row: &mut [f32]) {
        for term in terms {
            let values = &source[term.start..term.start + row.len()];
            for (sum, value) in row.iter_mut().zip(values) {
                *sum += term.coefficient * value;
            }
        }
    }
}

dispatch! {
    fn spread_row(terms: &[Term], row: &[f32], target: &mut [f32]) {
        for term in terms {
            let sums = &mut target[term.start..term.start + row.len()];
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += term.coefficient * value;
            }
        }
    }
}

/// The two sparse sums with a block of the row held in registers while all terms pass by: half the loads
/// of the plain loop, and no scalar tail (masked loads).
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::Term;
    use std::arch::x86_64::*;

    const LANES: usize = 16;
    /// Registers that hold the row; 16 of the 32 leave room for the operands in flight.
    const HELD: usize = 16;

    /// The mask of the lanes `i` with `position + i < end`.
    #[inline(always)]
    fn lanes(position: usize, end: usize) -> __mmask16 {
        match end.saturating_sub(position) {
            0 => 0,
            left if left >= LANES => !0,
            left => (1 << left) - 1,
        }
    }

    /// # Safety
    /// The CPU has AVX-512 F, and every term's `start + row.len()` is at most `source.len()`.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn gather_rows(terms: &[Term], source: &[f32], row: &mut [f32]) {
        let mut block = 0;
        while block < row.len() {
            match (row.len() - block).div_ceil(LANES) {
                // SAFETY: `block < row.len()`, and the caller's promise about the terms.
                0..=1 => unsafe { gather_block::<1>(terms, source, row, block) },
                // SAFETY: as above.
                2..=3 => unsafe { gather_block::<3>(terms, source, row, block) },
                // SAFETY: as above.
                4..=8 => unsafe { gather_block::<8>(terms, source, row, block) },
                // SAFETY: as above.
                _ => unsafe { gather_block::<HELD>(terms, source, row, block) },
            }
            block += LANES * held(row.len() - block);
        }
    }

    /// # Safety
    /// The CPU has AVX-512 F, and every term's `start + row.len()` is at most `target.len()`.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn scatter_row(terms: &[Term], row: &[f32], target: &mut [f32]) {
        let mut block = 0;
        while block < row.len() {
            match (row.len() - block).div_ceil(LANES) {
                // SAFETY: `block < row.len()`, and the caller's promise about the terms.
                0..=1 => unsafe { scatter_block::<1>(terms, row, target, block) },
                // SAFETY: as above.
                2..=3 => unsafe { scatter_block::<3>(terms, row, target, block) },
                // SAFETY: as above.
                4..=8 => unsafe { scatter_block::<8>(terms, row, target, block) },
                // SAFETY: as above.
                _ => unsafe { scatter_block::<HELD>(terms, row, target, block) },
            }
            block += LANES * held(row.len() - block);
        }
    }

    /// Registers that the arms above take for a rest of this length.
    fn held(rest: usize) -> usize {
        match rest.div_ceil(LANES) {
            0..=1 => 1,
            2..=3 => 3,
            4..=8 => 8,
            _ => HELD,
        }
    }

    /// # Safety
    /// As [`gather_rows`]; `block <= row.len()`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn gather_block<const N: usize>(terms: &[Term], source: &[f32], row: &mut [f32], block: usize) {
        let masks: [__mmask16; N] = std::array::from_fn(|i| lanes(block + i * LANES, row.len()));
        let mut sums = [_mm512_setzero_ps(); N];
        for i in 0..N {
            // SAFETY: masked-off lanes are not read; the others lie below `row.len()`. `wrapping_add`
            // because the pointer of a wholly masked-off register may lie past the end.
            sums[i] =
                unsafe { _mm512_maskz_loadu_ps(masks[i], row.as_ptr().wrapping_add(block + i * LANES)) };
        }
        for term in terms {
            let coefficient = _mm512_set1_ps(term.coefficient);
            let values = source.as_ptr().wrapping_add(term.start + block);
            for i in 0..N {
                // SAFETY: as above, with `term.start + row.len() <= source.len()` by the caller's promise.
                let value = unsafe { _mm512_maskz_loadu_ps(masks[i], values.wrapping_add(i * LANES)) };
                sums[i] = _mm512_fmadd_ps(coefficient, value, sums[i]);
            }
        }
        for i in 0..N {
            // SAFETY: masked-off lanes are not written; the others lie below `row.len()`.
            unsafe {
                _mm512_mask_storeu_ps(row.as_mut_ptr().wrapping_add(block + i * LANES), masks[i], sums[i])
            };
        }
    }

    /// # Safety
    /// As [`scatter_row`]; `block <= row.len()`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn scatter_block<const N: usize>(terms: &[Term], row: &[f32], target: &mut [f32], block: usize) {
        let masks: [__mmask16; N] = std::array::from_fn(|i| lanes(block + i * LANES, row.len()));
        let mut values = [_mm512_setzero_ps(); N];
        for i in 0..N {
            // SAFETY: masked-off lanes are not read; the others lie below `row.len()`.
            values[i] =
                unsafe { _mm512_maskz_loadu_ps(masks[i], row.as_ptr().wrapping_add(block + i * LANES)) };
        }
        for term in terms {
            let coefficient = _mm512_set1_ps(term.coefficient);
            let sums = target.as_mut_ptr().wrapping_add(term.start + block);
            for i in 0..N {
                let place = sums.wrapping_add(i * LANES);
                // SAFETY: active lanes lie below `term.start + row.len() <= target.len()` by the caller's
                // promise; masked-off lanes are neither read nor written.
                unsafe {
                    let sum = _mm512_maskz_loadu_ps(masks[i], place);
                    _mm512_mask_storeu_ps(place, masks[i], _mm512_fmadd_ps(coefficient, values[i], sum));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::products::tests::numbers;

    /// Every length around the register and block limits, every level, against float64.
    #[test]
    fn sparse_sums_equal_the_plain_sum_on_every_level() {
        for level in Level::available() {
            for length in [1, 2, 15, 16, 17, 31, 47, 48, 49, 127, 128, 129, 255, 256, 257, 300, 600] {
                let source = numbers(4 * length + 3, 1);
                let terms: Vec<Term> = [0, 3, 2 * length, 3 * length + 3]
                    .iter()
                    .enumerate()
                    .map(|(i, &start)| Term { coefficient: i as f32 - 1.3, start })
                    .collect();
                let mut row = numbers(length, 2);
                let mut target = source.clone();
                let mut expected_row: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
                let mut expected_target: Vec<f64> = target.iter().map(|&v| f64::from(v)).collect();
                for term in &terms {
                    for i in 0..length {
                        let coefficient = f64::from(term.coefficient);
                        expected_target[term.start + i] += coefficient * f64::from(row[i]);
                        expected_row[i] += coefficient * f64::from(source[term.start + i]);
                    }
                }
                scatter_row(level, &terms, &row, &mut target);
                gather_rows(level, &terms, &source, &mut row);
                let near = |got: &[f32], want: &[f64]| {
                    got.iter().zip(want).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-5)
                };
                assert!(near(&target, &expected_target), "scatter, {level:?}, length {length}");
                assert!(near(&row, &expected_row), "gather, {level:?}, length {length}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside the source")]
    fn a_term_past_the_end_is_refused() {
        gather_rows(Level::Portable, &[Term { coefficient: 1.0, start: 2 }], &[0.0; 4], &mut [0.0; 3]);
    }
}
