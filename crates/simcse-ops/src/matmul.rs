//! One safe door to the `gemm` crate: single-threaded, for use inside parallel blocks.

use gemm::Parallelism;

/// `output[m, n] = left[m, k] · right[n, k]ᵀ`, all row-major and contiguous. Overwrites `output`.
pub(crate) fn matmul_transposed(
    m: usize,
    n: usize,
    k: usize,
    left: &[f32],
    right: &[f32],
    output: &mut [f32],
) {
    assert_eq!((left.len(), right.len(), output.len()), (m * k, n * k, m * n), "matrix sizes");
    // SAFETY: the three slices have exactly m·k, n·k and m·n elements (asserted above); the strides given
    // describe row-major matrices of those shapes, so every access stays inside its slice; `output` is
    // borrowed mutably and cannot overlap the others.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            n as isize,
            false,
            left.as_ptr(),
            1,
            k as isize,
            right.as_ptr(),
            k as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
