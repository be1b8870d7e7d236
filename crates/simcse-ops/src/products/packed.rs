//! Matrices in the layouts that tiles read.

use rayon::prelude::*;

use super::avx512::{HEIGHT, LeftTile, WIDTH};
use super::layouts::{interleave, interleave_panels, round_row, transpose, transpose_pairs};
use super::words::Words;
use super::{Kernel, Threads, View};

/// A right matrix: panels of [`WIDTH`] columns, in each `[steps, WIDTH]` words. What lies beyond the matrix is zero.
pub(super) struct Right {
    words: Words,
    pub(super) steps: usize,
}

impl Right {
    /// Matrices of the same number of rows side by side.
    pub(super) fn pack(kernel: Kernel, parts: &[View], threads: Threads) -> Self {
        let (words, steps) = right_panels(kernel, parts, threads);
        Self { words, steps }
    }

    /// Some steps of a panel.
    pub(super) fn part(&self, panel: usize, start: usize, end: usize) -> &[u32] {
        let first = panel * self.steps;
        &self.words.as_slice()[(first + start) * WIDTH..(first + end) * WIDTH]
    }
}

/// Some rows and steps of a left matrix: where they were, as words row by row, or in panels of [`HEIGHT`] rows, in each
/// `[steps, HEIGHT]` words.
pub(super) struct Left<'a> {
    words: LeftWords<'a>,
    row_stride: usize,
    step_stride: usize,
    /// From one panel to the next.
    panel: usize,
}

enum LeftWords<'a> {
    Borrowed(&'a [u32]),
    Packed(Words),
}

impl<'a> Left<'a> {
    pub(super) fn pack(kernel: Kernel, matrix: View<'a>) -> Self {
        match (kernel, matrix.column_stride) {
            (Kernel::Floats, 1) => {
                let words = LeftWords::Borrowed(bytemuck::cast_slice(matrix.values));
                let row_stride = matrix.row_stride;
                Self { words, row_stride, step_stride: 1, panel: HEIGHT * row_stride }
            }
            (Kernel::Pairs, 1) | (Kernel::Registers, _) => {
                let (words, row_stride) = rows_of_pairs(kernel, matrix);
                let panel = kernel.height() * row_stride;
                Self { words: LeftWords::Packed(words), row_stride, step_stride: 1, panel }
            }
            (Kernel::Floats | Kernel::Pairs, _) => {
                let (words, steps) = left_panels(kernel, matrix.transposed());
                let panel = steps * HEIGHT;
                Self { words: LeftWords::Packed(words), row_stride: 1, step_stride: HEIGHT, panel }
            }
        }
    }

    pub(super) fn part(&self, panel: usize) -> LeftTile<'_> {
        let words = match &self.words {
            LeftWords::Borrowed(words) => words,
            LeftWords::Packed(words) => words.as_slice(),
        };
        LeftTile {
            words: &words[panel * self.panel..],
            row_stride: self.row_stride,
            step_stride: self.step_stride,
        }
    }
}

/// Rows of words of two, filled up with zeros to the steps of the kernel, and their length. There is room for whole tiles; rows
/// beyond the matrix hold anything.
fn rows_of_pairs(kernel: Kernel, matrix: View) -> (Words, usize) {
    let (words, length) = (kernel.words(matrix.columns), kernel.steps(matrix.columns));
    let mut all = Words::take(matrix.rows.next_multiple_of(kernel.height()) * length);
    let rows = &mut all.as_mut_slice()[..matrix.rows * length];
    if matrix.column_stride == 1 {
        for (row, to) in rows.chunks_exact_mut(length).enumerate() {
            let (to, beyond) = to.split_at_mut(words);
            round_row(&matrix.values[row * matrix.row_stride..][..matrix.columns], to);
            beyond.fill(0);
        }
        return (all, length);
    }
    assert_eq!(matrix.row_stride, 1, "a matrix whose rows or columns lie close");
    let column = |column: usize| &matrix.values[column * matrix.column_stride..][..matrix.rows];
    for first in (0..matrix.columns).step_by(32) {
        let count = (matrix.columns - first).min(32);
        let mut columns: [&[f32]; 32] = [&[]; 32];
        columns.iter_mut().take(count).enumerate().for_each(|(i, values)| *values = column(first + i));
        transpose_pairs(&columns, &mut rows[first / 2..], length);
    }
    (all, length)
}

/// The columns of a matrix whose rows lie close as panels of [`HEIGHT`].
fn left_panels(kernel: Kernel, matrix: View) -> (Words, usize) {
    assert_eq!(matrix.column_stride, 1, "a matrix whose rows or columns lie close");
    let steps = kernel.words(matrix.rows);
    let mut all = Words::take(matrix.columns.div_ceil(HEIGHT) * HEIGHT * steps);
    let row = |step: usize| &matrix.values[step * matrix.row_stride..][..matrix.columns];
    for step in 0..steps {
        let words = &mut all.as_mut_slice()[step * HEIGHT..];
        match kernel {
            Kernel::Floats => {
                for (panel, values) in row(step).chunks(HEIGHT).enumerate() {
                    let words = &mut words[panel * steps * HEIGHT..][..HEIGHT];
                    words[..values.len()].copy_from_slice(bytemuck::cast_slice(values));
                    words[values.len()..].fill(0);
                }
            }
            _ if 2 * step + 1 < matrix.rows => {
                interleave_panels(row(2 * step), row(2 * step + 1), words, steps * HEIGHT);
            }
            _ => interleave_panels(row(2 * step), &[], words, steps * HEIGHT),
        }
    }
    (all, steps)
}

/// The columns of matrices of the same number of rows as panels of [`WIDTH`].
fn right_panels(kernel: Kernel, parts: &[View], threads: Threads) -> (Words, usize) {
    let columns: usize = parts.iter().map(|part| part.columns).sum();
    let rows = parts.first().map_or(0, |part| part.rows);
    let steps = kernel.steps(rows);
    let mut all = Words::take(columns.div_ceil(WIDTH) * WIDTH * steps);
    let words = all.as_mut_slice();
    let fill = |(group, words): (usize, &mut [u32])| {
        let mut panels = Group { kernel, steps, words };
        let first = group * GROUP * WIDTH;
        let end = (first + panels.columns()).min(columns);
        panels.clear_from(end - first);
        panels.clear_steps_from(kernel.words(rows));
        let mut part_first = 0;
        for part in parts {
            let part_end = part_first + part.columns;
            let (from, to) = (first.max(part_first), end.min(part_end));
            if from < to {
                panels.fill(part.middle_columns(from - part_first, to - from), from - first);
            }
            part_first = part_end;
        }
    };
    match threads {
        _ if words.is_empty() => {}
        Threads::One => words.chunks_mut(GROUP * WIDTH * steps).enumerate().for_each(fill),
        Threads::All => words.par_chunks_mut(GROUP * WIDTH * steps).enumerate().for_each(fill),
    }
    (all, steps)
}

/// Panels of one parallel task: a row is read in pieces of their width, and short pieces of far rows are slow.
const GROUP: usize = 4;

/// Panels side by side.
struct Group<'a> {
    kernel: Kernel,
    steps: usize,
    words: &'a mut [u32],
}

impl Group<'_> {
    fn columns(&self) -> usize {
        self.words.len() / self.steps
    }

    /// The words of columns from `column` on, in one step of their panel.
    fn piece(&mut self, column: usize, step: usize) -> &mut [u32] {
        let panel = column / WIDTH * self.steps;
        &mut self.words[(panel + step) * WIDTH..][column % WIDTH..WIDTH]
    }

    /// Zeroes the columns from `column` on, which are less than a panel.
    fn clear_from(&mut self, column: usize) {
        if column < self.columns() {
            (0..self.steps).for_each(|step| self.piece(column, step).fill(0));
        }
    }

    /// Zeroes the steps from `step` on, of which there is nothing in the matrix.
    fn clear_steps_from(&mut self, step: usize) {
        if step < self.steps {
            let panels = self.words.chunks_exact_mut(self.steps * WIDTH);
            panels.for_each(|panel| panel[step * WIDTH..].fill(0));
        }
    }

    /// Lays a matrix into the columns from `first` on.
    fn fill(&mut self, matrix: View, first: usize) {
        if matrix.column_stride == 1 {
            return self.fill_by_rows(matrix, first);
        }
        assert_eq!(matrix.row_stride, 1, "a matrix whose rows or columns lie close");
        let column = |column: usize| &matrix.values[column * matrix.column_stride..][..matrix.rows];
        let mut next = 0;
        while next < matrix.columns {
            // Sixteen columns, or those that are left of the matrix or of a panel.
            let room = WIDTH - (first + next) % WIDTH;
            let count = room.min(matrix.columns - next).min(16);
            let mut columns: [&[f32]; 16] = [&[]; 16];
            columns.iter_mut().take(count).enumerate().for_each(|(i, values)| *values = column(next + i));
            let start = (first + next) / WIDTH * self.steps * WIDTH + (first + next) % WIDTH;
            transpose(&columns[..count], self.kernel != Kernel::Floats, &mut self.words[start..]);
            next += count;
        }
    }

    fn fill_by_rows(&mut self, matrix: View, first: usize) {
        let row = |step: usize| &matrix.values[step * matrix.row_stride..][..matrix.columns];
        for step in 0..self.kernel.words(matrix.rows) {
            let kernel = self.kernel;
            let (low, high) = match kernel {
                Kernel::Floats => (row(step), &[][..]),
                _ if 2 * step + 1 < matrix.rows => (row(2 * step), row(2 * step + 1)),
                _ => (row(2 * step), &[][..]),
            };
            let mut next = 0;
            while next < low.len() {
                let words = self.piece(first + next, step);
                let count = words.len().min(low.len() - next);
                let (words, here) = (&mut words[..count], next..next + count);
                match kernel {
                    Kernel::Floats => words.copy_from_slice(bytemuck::cast_slice(&low[here])),
                    _ => interleave(&low[here.clone()], high.get(here).unwrap_or(&[]), words),
                }
                next += count;
            }
        }
    }
}
