//! One safe door to the `gemm` crate.

use gemm::Parallelism;

/// A matrix inside a slice: any strides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major, contiguous matrix.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "matrix size");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same values with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// What a product does with what stands in its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// It is not looked at.
    Overwrite,
    /// The product is added to it.
    Add,
}

/// Whether a product may use the thread pool; inside of a parallel block it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    One,
    All,
}

/// `output[m, n] = left[m, k] · right[k, n]`, or added to it; `output` is row-major and contiguous.
///
/// Each element is one sum over `k` in one order, whatever the number of threads.
pub(crate) fn multiply(left: View, right: View, output: &mut [f32], mode: Output, threads: Threads) {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    assert_eq!((right.rows, output.len()), (k, m * n), "matrix sizes");
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    // SAFETY: `View` can only be made of a slice that holds all of its rows · columns elements under its
    // strides (`new` asserts it, `transposed` exchanges them), and `output` has exactly m · n elements
    // (asserted above), so every access stays inside its slice; `output` is borrowed mutably and cannot overlap
    // the others.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            n as isize,
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Numbers between -0.5 and 0.5.
    pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
        (0..count as u32)
            .map(|i| simcse_random::uniform_bits(seed, i) as f32 / u32::MAX as f32 - 0.5)
            .collect()
    }

    /// All forms against a float64 triple loop.
    #[test]
    fn products_equal_the_triple_loop() {
        let (m, k, n) = (37, 19, 50);
        let (left, right) = (numbers(m * k, 1), numbers(k * n, 2));
        let plain = |i: usize, j: usize| -> f64 {
            (0..k).map(|p| f64::from(left[i * k + p]) * f64::from(right[p * n + j])).sum()
        };
        let mut left_transposed = vec![0.0; m * k];
        for (index, value) in left.iter().enumerate() {
            left_transposed[(index % k) * m + index / k] = *value;
        }
        for threads in [Threads::One, Threads::All] {
            let mut output = vec![f32::NAN; m * n];
            let (left, right) = (View::new(&left, m, k), View::new(&right, k, n));
            multiply(left, right, &mut output, Output::Overwrite, threads);
            let left = View::new(&left_transposed, k, m).transposed();
            multiply(left, right, &mut output, Output::Add, threads);
            for (index, got) in output.iter().enumerate() {
                let want = 2.0 * plain(index / n, index % n);
                assert!((f64::from(*got) - want).abs() < 1e-5, "element {index}: {got}, wanted {want}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "matrix size")]
    fn a_slice_of_the_wrong_length_is_refused() {
        View::new(&[0.0; 5], 2, 3);
    }
}
