//! Products of matrices that fit into the first-level cache, for use inside of a dispatched kernel.

/// Columns of a register tile; right-hand sides and outputs are padded to whole tiles.
pub(crate) const TILE: usize = 16;
/// Rows of a register tile.
const ROWS: usize = 8;

/// `count` rounded up to whole tiles.
#[inline(always)]
pub(crate) fn padded(count: usize) -> usize {
    count.next_multiple_of(TILE)
}

/// The left-hand side of a product: element `(i, p)` is `values[i · row_stride + p · column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

/// `output[i, j] = Σ_p left(i, p) · right[p, j]` for `rows` × `inner` × `columns`; `right` `[inner, columns]` and
/// `output` `[rows, columns]` are row-major, `columns` a multiple of [`TILE`].
#[inline(always)]
pub(crate) fn multiply_small(
    (rows, inner, columns): (usize, usize, usize),
    left: Left,
    right: &[f32],
    output: &mut [f32],
) {
    for first in (0..columns).step_by(TILE) {
        let mut row = 0;
        while row + ROWS <= rows {
            tile::<ROWS>(row, first, inner, columns, left, right, output);
            row += ROWS;
        }
        while row < rows {
            tile::<1>(row, first, inner, columns, left, right, output);
            row += 1;
        }
    }
}

/// One register tile of `N` rows.
#[inline(always)]
fn tile<const N: usize>(
    row: usize,
    first: usize,
    inner: usize,
    columns: usize,
    left: Left,
    right: &[f32],
    output: &mut [f32],
) {
    let mut sums = [[0.0_f32; TILE]; N];
    for p in 0..inner {
        let start = p * columns + first;
        let line: &[f32] = &right[start..start + TILE];
        for (i, sums) in sums.iter_mut().enumerate() {
            let factor = left.values[(row + i) * left.row_stride + p * left.column_stride];
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum = factor.mul_add(*value, *sum);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        let start = (row + i) * columns + first;
        output[start..start + TILE].copy_from_slice(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_triple_loop_for_every_remainder() {
        let number = |i: usize, seed| simcse_random::uniform_bits(seed, i as u32) as f32 / u32::MAX as f32;
        for (rows, inner, columns) in [(1, 1, 16), (3, 5, 16), (4, 7, 32), (9, 26, 48), (6, 0, 16)] {
            let left: Vec<f32> = (0..rows * inner).map(|i| number(i, 1)).collect();
            let right: Vec<f32> = (0..inner * columns).map(|i| number(i, 2)).collect();
            for transposed in [false, true] {
                let (row_stride, column_stride) = if transposed { (1, rows) } else { (inner, 1) };
                let mut output = vec![f32::NAN; rows * columns];
                let view = Left { values: &left, row_stride, column_stride };
                multiply_small((rows, inner, columns), view, &right, &mut output);
                for (index, got) in output.iter().enumerate() {
                    let (i, j) = (index / columns, index % columns);
                    let term = |p| left[i * row_stride + p * column_stride] * right[p * columns + j];
                    let want: f32 = (0..inner).map(term).sum();
                    assert!((got - want).abs() < 1e-5, "{rows} x {inner} x {columns}, ({i}, {j})");
                }
            }
        }
    }
}
