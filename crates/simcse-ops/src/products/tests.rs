use super::*;

/// Numbers between -0.5 and 0.5.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u32).map(|i| simcse_random::uniform_bits(seed, i) as f32 / u32::MAX as f32 - 0.5).collect()
}

fn levels_and_precisions() -> impl Iterator<Item = (Level, Precision)> {
    let both = |level| [(level, Precision::Float32), (level, Precision::BFloat16)];
    Level::available().into_iter().flat_map(both)
}

fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect()
}

/// A matrix, and its values the other way round.
struct Matrix {
    rows: usize,
    columns: usize,
    straight: Vec<f32>,
    turned: Vec<f32>,
}

impl Matrix {
    fn new(rows: usize, columns: usize, seed: u64) -> Self {
        let straight = numbers(rows * columns, seed);
        let turned = turned(&straight, rows, columns);
        Self { rows, columns, straight, turned }
    }

    fn view(&self, is_turned: bool) -> View<'_> {
        if is_turned {
            View::new(&self.turned, self.columns, self.rows).transposed()
        } else {
            View::new(&self.straight, self.rows, self.columns)
        }
    }
}

/// Every layout, mode, level and precision against a float64 triple loop; sizes around those of a tile, of a task,
/// of a block of the summed dimension and of a transposed block.
#[test]
fn products_equal_the_triple_loop() {
    let sizes = [
        (1, 1, 1),
        (8, 2, 48),
        (9, 3, 49),
        (7, 5, 15),
        (65, 400, 97),
        (130, 33, 16),
        (16, 385, 33),
        (5, 192, 64),
        (1, 40, 200),
        // Columns of the right matrix that are a page apart.
        (20, 1024, 50),
    ];
    for ((m, k, n), precision) in
        sizes.into_iter().flat_map(|size| [(size, Precision::Float32), (size, Precision::BFloat16)])
    {
        let (left, right) = (Matrix::new(m, k, 1), Matrix::new(k, n, 2));
        let exact = |value: f32| match precision {
            Precision::Float32 => f64::from(value),
            Precision::BFloat16 => f64::from(f32::from_bits(round(value) << 16)),
        };
        let element = |i: usize, j: usize| -> f64 {
            (0..k).map(|p| exact(left.straight[i * k + p]) * exact(right.straight[p * n + j])).sum()
        };
        for level in Level::available() {
            let all = Products { level, precision, threads: Threads::All };
            for (turn_left, turn_right) in [(false, false), (false, true), (true, false), (true, true)] {
                let (left, right) = (left.view(turn_left), right.view(turn_right));
                let mut output = vec![f32::NAN; m * n];
                all.multiply(left, right, &mut output, Output::Overwrite);
                Products { threads: Threads::One, ..all }.multiply(left, right, &mut output, Output::Add);
                let row = numbers(n, 3);
                let mut on_row = vec![f32::NAN; m * n];
                all.multiply(left, right, &mut on_row, Output::AddRow(&row));
                for (i, (got, on_row)) in output.iter().zip(on_row).enumerate() {
                    let wanted = element(i / n, i % n);
                    let errors = [f64::from(*got) - 2.0 * wanted, f64::from(on_row - row[i % n]) - wanted]
                        .map(f64::abs);
                    assert!(
                        errors.iter().all(|error| *error < 2e-6 * (k as f64).sqrt() + 1e-7),
                        "{m} {k} {n} {level:?} {precision:?} {i}: {errors:?}"
                    );
                }
            }
        }
    }
}

/// Parts whose borders fall inside of a panel, of a tile and between them.
#[test]
fn a_stack_is_the_products_side_by_side() {
    let (m, k) = (21, 50);
    let left = Matrix::new(m, k, 1);
    for is_turned in [false, true] {
        let parts = [Matrix::new(k, 7, 2), Matrix::new(k, 60, 3), Matrix::new(k, 48, 4)];
        for (level, precision) in levels_and_precisions() {
            let products = Products { level, precision, threads: Threads::All };
            let views = parts.each_ref().map(|part| part.view(is_turned));
            let mut stack = vec![0.0; m * 115];
            products.multiply_stack(left.view(false), &views, &mut stack, Output::Overwrite);
            let mut first = 0;
            for view in views {
                let mut alone = vec![0.0; m * view.columns];
                products.multiply(left.view(false), view, &mut alone, Output::Overwrite);
                for (stack, alone) in stack.chunks(115).zip(alone.chunks(view.columns)) {
                    assert_eq!(&stack[first..first + view.columns], alone, "{level:?} {precision:?}");
                }
                first += view.columns;
            }
        }
    }
}

/// A left matrix and a right one that are columns of wider ones.
#[test]
fn columns_of_a_matrix_are_a_matrix() {
    let (wide, right) = (Matrix::new(19, 30, 1), Matrix::new(9, 12, 2));
    let copied: Vec<f32> = wide.straight.chunks(30).flat_map(|row| row[20..29].to_vec()).collect();
    for (level, precision) in levels_and_precisions() {
        let products = Products { level, precision, threads: Threads::One };
        let (mut part, mut copy) = (vec![0.0; 19 * 12], vec![0.0; 19 * 12]);
        products.multiply(
            wide.view(false).middle_columns(20, 9),
            right.view(false),
            &mut part,
            Output::Overwrite,
        );
        products.multiply(View::new(&copied, 19, 9), right.view(false), &mut copy, Output::Overwrite);
        assert_eq!(part, copy, "{level:?}");
        let transposed = wide.view(false).middle_columns(20, 9).transposed();
        let (mut part, mut copy) = (vec![0.0; 9 * 30], vec![0.0; 9 * 30]);
        products.multiply(transposed, wide.view(false), &mut part, Output::Overwrite);
        products.multiply(
            View::new(&copied, 19, 9).transposed(),
            wide.view(false),
            &mut copy,
            Output::Overwrite,
        );
        assert_eq!(part, copy, "{level:?}");
    }
}

/// Work is cut by size alone: which rows stand at the edge of a tile is the same whoever computes them.
#[test]
fn the_number_of_threads_changes_no_bit() {
    for (m, k, n) in [(130, 400, 97), (130, 1024, 50)] {
        let (left, right) = (Matrix::new(m, k, 1), Matrix::new(k, n, 2));
        for (level, precision) in levels_and_precisions() {
            let products = Products { level, precision, threads: Threads::All };
            let with = |threads: usize| -> Vec<u32> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut output = vec![0.0; m * n];
                pool.install(|| {
                    products.multiply(left.view(false), right.view(true), &mut output, Output::Overwrite);
                });
                output.into_iter().map(f32::to_bits).collect()
            };
            let one = with(1);
            assert!([2, 3, 7].into_iter().all(|threads| with(threads) == one), "{level:?} {precision:?}");
        }
    }
}

/// Values worked out by hand from the bits: ties go to the even neighbour.
#[test]
fn rounding_is_to_nearest_and_keeps_what_is_no_number() {
    let upper = |bits: u32| round(f32::from_bits(bits));
    assert_eq!([upper(0x3f80_8000), upper(0x3f81_8000), upper(0x3f80_8001)], [0x3f80, 0x3f82, 0x3f81]);
    assert_eq!([upper(0x7f80_0000), upper(0xff80_0000), upper(0x7f7f_ffff)], [0x7f80, 0xff80, 0x7f80]);
    assert!([0x7f80_0001, 0x7fff_ffff, 0xffff_ffff].map(upper).iter().all(|u| u & 0x7fff > 0x7f80));
}

#[test]
fn a_number_that_is_none_spoils_its_row_and_nothing_else() {
    let mut left = numbers(3 * 4, 1);
    left[5] = f32::NAN;
    let right = numbers(4 * 2, 2);
    for (level, precision) in levels_and_precisions() {
        let mut output = vec![0.0; 6];
        let products = Products { level, precision, threads: Threads::One };
        products.multiply(View::new(&left, 3, 4), View::new(&right, 4, 2), &mut output, Output::Overwrite);
        let spoilt: Vec<bool> = output.iter().map(|value| value.is_nan()).collect();
        assert_eq!(spoilt, [false, false, true, true, false, false], "{level:?} {precision:?}");
    }
}

/// Packed matrices lie in buffers of earlier products; here those held what is no number, beyond what the next ones fill.
#[test]
fn what_an_earlier_product_left_does_not_matter() {
    let none = vec![f32::NAN; 64 * 96];
    let (left, right) = (numbers(40 * 33, 1), numbers(33 * 50, 2));
    for (level, precision) in levels_and_precisions() {
        let products = Products { level, precision, threads: Threads::One };
        // Many times: another test may have taken the buffers.
        for _ in 0..20 {
            let mut spoilt = vec![0.0; 64 * 96];
            // What is prepared is packed in float32 as well.
            let prepared = Prepared::new(products, View::new(&none, 64, 96));
            prepared.multiply(View::new(&none[..64 * 64], 64, 64), &mut spoilt, Output::Overwrite);
            let mut output = vec![0.0; 40 * 50];
            let prepared = Prepared::new(products, View::new(&right, 33, 50));
            prepared.multiply(View::new(&left, 40, 33), &mut output, Output::Overwrite);
            assert!(output.iter().all(|value| value.is_finite()), "{level:?} {precision:?}");
        }
    }
}

#[test]
fn nothing_to_sum_gives_zero() {
    for (level, precision) in levels_and_precisions() {
        let products = Products { level, precision, threads: Threads::One };
        let mut output = vec![1.0; 6];
        let (left, right) = (View::new(&[], 3, 0), View::new(&[], 0, 2));
        products.multiply(left, right, &mut output, Output::Add);
        assert_eq!(output, [1.0; 6]);
        products.multiply(left, right, &mut output, Output::Overwrite);
        assert_eq!(output, [0.0; 6]);
    }
}

#[test]
#[should_panic(expected = "matrix size")]
fn a_slice_of_the_wrong_length_is_refused() {
    View::new(&[0.0; 5], 2, 3);
}
