//! One safe door to the `gemm` crate.

use gemm::Parallelism;

use super::{Output, Threads, View};

/// `output[m, n] = left[m, k] · right[k, n]`, or added to it; rows of the output begin `stride` values apart.
pub(super) fn multiply(
    left: View,
    right: View,
    output: &mut [f32],
    stride: usize,
    mode: Output,
    threads: Threads,
) {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    if m == 0 || n == 0 {
        return;
    }
    assert_eq!(right.rows, k, "matrix sizes");
    assert!(n <= stride && (m - 1) * stride + n <= output.len(), "the product lies inside of the output");
    assert!(lies_inside(&left) && lies_inside(&right), "a matrix lies inside of its slice");
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    // SAFETY: the last elements of both matrices and of the output lie inside of their slices (asserted above), so every
    // access does; `output` is borrowed mutably and cannot overlap the others.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            stride as isize,
            mode == Output::Add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Whether the last element is one of the slice; no stride is negative.
fn lies_inside(matrix: &View) -> bool {
    let View { values, rows, columns, row_stride, column_stride } = *matrix;
    rows == 0 || columns == 0 || (rows - 1) * row_stride + (columns - 1) * column_stride < values.len()
}
