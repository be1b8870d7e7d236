//! Rounding, and the layout that tiles read.

use rayon::prelude::*;

use crate::matmul::Threads;
use crate::simd::{Level, dispatch};

/// A matrix by lanes (rows of a left matrix, columns of a right one) and steps along the summed dimension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes<'a> {
    pub(super) values: &'a [f32],
    pub(super) lane: usize,
    pub(super) step: usize,
}

/// A rounded matrix: panels of `LANES` lanes, in each `[pairs, LANES]` words of two values. What lies beyond the
/// matrix is zero.
pub(super) struct Panels<const LANES: usize> {
    words: Vec<u32>,
    pub(super) pairs: usize,
}

impl<const LANES: usize> Panels<LANES> {
    pub(super) fn pack(level: Level, source: Lanes, lanes: usize, steps: usize, threads: Threads) -> Self {
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
    pub(super) fn part(&self, panel: usize, start: usize, end: usize) -> &[u32] {
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
pub(super) fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if value.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

pub(super) fn rounded(level: Level, values: &[f32]) -> Vec<f32> {
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
