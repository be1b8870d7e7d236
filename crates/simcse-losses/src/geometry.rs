//! Alignment and uniformity of embeddings on the unit sphere (Wang and Isola 2020, section 4.1; Gao et al.
//! 2021, equations 2 and 3).
//!
//! Gao et al. (SimCSE) apply them to STS-B: the positive pairs of the alignment are the pairs with a gold
//! score above 4, the data of the uniformity are all its sentences. Lower is better for both, and only both
//! together mean something: an encoder that maps all to one point has alignment 0, the best, and uniformity
//! 0, the worst.
//!
//! Embeddings come as row-major slices, `[n, size]`, and are scaled to length 1 here. A vector of zeros has
//! no direction and stays zero. All sums are float64 in a fixed order: the result does not depend on the
//! number of threads.

use rayon::prelude::*;

use crate::{LossError, Result};

/// Rows of a panel: four rows lie interleaved, so that one pass over two panels gives 16 dot products from
/// eight loads.
const PANEL: usize = 4;
/// Panels of a block, the unit of parallel work: 16 panels of 512 numbers stay in the second-level cache.
const BLOCK: usize = 16;
/// `t` of the Gaussian potential, as in the paper's experiments and in SimCSE.
const UNIFORMITY_T: f64 = 2.0;

/// Four rows, element by element.
type Panel = Vec<[f64; PANEL]>;

/// Alignment (α = 2): the mean of `‖f(x) - f(x⁺)‖²` over positive pairs, from 0 to 4.
///
/// Row `i` of `first` and row `i` of `second` (both `[n, size]`) are a positive pair. Fails without pairs,
/// when the lengths do not fit, and on a value that is not finite.
pub fn alignment(first: &[f32], second: &[f32], size: usize) -> Result<f64> {
    let (first, second) = (unit_rows(first, size)?, unit_rows(second, size)?);
    if first.len() != second.len() || first.is_empty() {
        return Err(LossError::Embeddings(format!(
            "alignment: {} and {} rows; fix: give both sentences of at least one pair",
            first.len(),
            second.len()
        )));
    }
    let squared_distance =
        |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    Ok(first.iter().zip(&second).map(squared_distance).sum::<f64>() / first.len() as f64)
}

/// Uniformity (t = 2): `log` of the mean of `exp(-2 ‖f(x) - f(y)‖²)` over all unordered pairs
/// of different rows of `embeddings` (`[n, size]`), from -8 to 0.
///
/// Needs memory for the rows in float64, not for the pairs; the time grows with n² · size. Fails with less
/// than 2 rows, when the length does not fit, and on a value that is not finite.
pub fn uniformity(embeddings: &[f32], size: usize) -> Result<f64> {
    let rows = unit_rows(embeddings, size)?;
    let count = rows.len();
    if count < 2 {
        return Err(LossError::Embeddings(format!(
            "uniformity: {count} rows make no pair; fix: give at least 2 sentences"
        )));
    }
    let squares: Vec<f64> = rows.iter().map(|row| row.iter().map(|value| value * value).sum()).collect();
    let panels: Vec<Panel> = rows.chunks(PANEL).map(|rows| interleave(rows, size)).collect();
    drop(rows);
    let block_sums: Vec<f64> = (0..panels.len().div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| block_potential(&panels, &squares, block))
        .collect();
    let pairs = count as f64 * (count - 1) as f64 / 2.0;
    Ok((block_sums.iter().sum::<f64>() / pairs).ln())
}

/// Sum of the potentials of all pairs whose first row lies in this block.
fn block_potential(panels: &[Panel], squares: &[f64], block: usize) -> f64 {
    let start = block * BLOCK;
    let end = panels.len().min(start + BLOCK);
    let mut sum = 0.0;
    for right in start..panels.len() {
        for left in start..end.min(right + 1) {
            let products = tile(&panels[left], &panels[right]);
            for (i, row) in products.iter().enumerate() {
                for (j, product) in row.iter().enumerate() {
                    let (x, y) = (left * PANEL + i, right * PANEL + j);
                    if x < y && y < squares.len() {
                        // ‖x - y‖² ≥ 0, whatever the rounding.
                        let squared_distance = (squares[x] + squares[y] - 2.0 * product).max(0.0);
                        sum += (-UNIFORMITY_T * squared_distance).exp();
                    }
                }
            }
        }
    }
    sum
}

/// All dot products of four rows with four rows, each summed from the first element to the last.
fn tile(left: &[[f64; PANEL]], right: &[[f64; PANEL]]) -> [[f64; PANEL]; PANEL] {
    let mut products = [[0.0; PANEL]; PANEL];
    for (left, right) in left.iter().zip(right) {
        for i in 0..PANEL {
            for j in 0..PANEL {
                products[i][j] += left[i] * right[j];
            }
        }
    }
    products
}

/// Up to four rows as one panel; absent rows are zero.
fn interleave(rows: &[Vec<f64>], size: usize) -> Panel {
    (0..size).map(|k| std::array::from_fn(|i| rows.get(i).map_or(0.0, |row| row[k]))).collect()
}

/// The rows of a row-major `[n, size]`, scaled to length 1.
fn unit_rows(embeddings: &[f32], size: usize) -> Result<Vec<Vec<f64>>> {
    if size == 0 || !embeddings.len().is_multiple_of(size) {
        return Err(LossError::Embeddings(format!(
            "{} numbers are not rows of {size}; fix: give the embeddings row by row and their size",
            embeddings.len()
        )));
    }
    embeddings
        .chunks_exact(size)
        .enumerate()
        .map(|(index, row)| {
            let square: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
            if !square.is_finite() {
                return Err(LossError::Embeddings(format!(
                    "embedding {index} (from 0) holds a value that is not finite; fix: look for a diverged \
                     training run"
                )));
            }
            let norm = if square > 0.0 { square.sqrt() } else { 1.0 };
            Ok(row.iter().map(|&value| f64::from(value) / norm).collect())
        })
        .collect()
}
