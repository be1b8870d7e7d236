//! A matrix inside of a slice.

/// A matrix inside of a slice: any strides.
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

    /// `count` columns from `first` on.
    pub(crate) fn middle_columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.columns, "columns inside of the matrix");
        Self { values: self.values.get(first * self.column_stride..).unwrap_or(&[]), columns: count, ..self }
    }

    /// `count` rows from `first` on.
    pub(crate) fn middle_rows(self, first: usize, count: usize) -> Self {
        self.transposed().middle_columns(first, count).transposed()
    }
}
