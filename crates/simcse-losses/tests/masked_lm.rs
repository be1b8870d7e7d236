//! The cross-entropy over the vocabulary against PyTorch, its formula in float64, and finite differences.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use candle_core::{DType, Device, Tensor, Var};
use simcse_losses::masked_lm_loss;
use simcse_random::uniform_bits;

// import torch, torch.nn.functional as F
// x = torch.tensor([[.5, -1., 2., 0., 3.], [1., 1., 1., 1., 1.], [-4., 90., 7., 88., .25]], requires_grad=True)
// loss = F.cross_entropy(x, torch.tensor([2, 0, 3])); loss.backward(); print(loss, x.grad)
#[test]
fn loss_and_gradient_equal_pytorch() {
    let rows = [[0.5_f32, -1., 2., 0., 3.], [1., 1., 1., 1., 1.], [-4., 90., 7., 88., 0.25]];
    let logits = Var::new(&rows, &Device::Cpu).unwrap();
    let loss = masked_lm_loss(&logits, &[2, 0, 3]).unwrap();
    close(&loss, &[1.717_934_6], 1e-6);
    let gradients = loss.backward().unwrap();
    close(gradients.get(&logits).unwrap(), &GRADIENT, 1e-7);
}
#[rustfmt::skip]
const GRADIENT: [f32; 15] = [0.018024018, 0.0040217014, -0.2525553, 0.01093212, 0.21957748, -0.26666668, 0.06666666, 0.06666666, 0.06666666, 0.06666666, 4.406e-42, 0.293599, 2.638224e-37, -0.29359904, 3.08904e-40];

fn close(got: &Tensor, want: &[f32], tolerance: f32) {
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < tolerance), "{got:?} is not {want:?}");
}

/// Logits within `spread` of `offset`.
fn numbers(seed: u64, count: usize, offset: f32, spread: f32) -> Vec<f32> {
    let unit = |i| uniform_bits(seed, i as u32) as f32 / u32::MAX as f32 * 2.0 - 1.0;
    (0..count).map(|i| offset + spread * unit(i)).collect()
}

/// Loss of each row, and softmax minus one-hot.
fn brute_force(logits: &[f32], targets: &[u32]) -> (Vec<f64>, Vec<f64>) {
    let columns = logits.len() / targets.len();
    let (mut losses, mut gradient) = (Vec::new(), Vec::new());
    for (row, &target) in logits.chunks(columns).zip(targets) {
        let row: Vec<f64> = row.iter().map(|&logit| f64::from(logit) - f64::from(row[0])).collect();
        let sum: f64 = row.iter().map(|logit| logit.exp()).sum();
        losses.push(sum.ln() - row[target as usize]);
        gradient.extend(row.iter().map(|logit| logit.exp() / sum));
        let start = gradient.len() - columns;
        gradient[start + target as usize] -= 1.0;
    }
    (losses, gradient)
}

/// The sizes of real vocabularies, and around the lanes of the maximum; logits far from zero, too. The weight
/// of the loss reaches the gradient.
#[test]
fn loss_and_gradient_equal_the_formula_for_any_vocabulary() {
    for (rows, columns) in [(1, 1), (2, 3), (3, 8), (5, 17), (7, 21_128), (2, 40_000)] {
        for (offset, spread) in [(0.0, 1.0), (-3.0, 30.0), (3000.0, 8.0)] {
            let values = numbers(rows as u64, rows * columns, offset, spread);
            let targets: Vec<u32> =
                (0..rows).map(|row| uniform_bits(9, row as u32) % columns as u32).collect();
            let logits = Var::from_slice(&values, (rows, columns), &Device::Cpu).unwrap();
            let loss = masked_lm_loss(&logits, &targets).unwrap();
            let (losses, want) = brute_force(&values, &targets);
            let mean = losses.iter().sum::<f64>() / rows as f64;
            let got = f64::from(loss.to_scalar::<f32>().unwrap());
            assert!((got - mean).abs() < 1e-6 * (1.0 + mean), "{rows} x {columns}: {got} is not {mean}");
            let gradients = (loss * (0.1 * rows as f64)).unwrap().backward().unwrap();
            let got = gradients.get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let near = |a: f32, b: f64| (f64::from(a) - 0.1 * b).abs() < 1e-8 + 1e-5 * (0.1 * b).abs();
            assert!(got.iter().zip(&want).all(|(a, b)| near(*a, *b)), "{rows} x {columns} at {offset}");
        }
    }
}

#[test]
fn the_gradient_equals_finite_differences() {
    const STEP: f32 = 1.0 / 64.0;
    let (values, targets) = (numbers(4, 3 * 6, 0.0, 2.0), [5, 0, 2]);
    let loss_of = |values: &[f32]| {
        let logits = Tensor::from_slice(values, (3, 6), &Device::Cpu).unwrap();
        masked_lm_loss(&logits, &targets).unwrap().to_scalar::<f32>().unwrap()
    };
    let logits = Var::from_slice(&values, (3, 6), &Device::Cpu).unwrap();
    let gradients = masked_lm_loss(&logits, &targets).unwrap().backward().unwrap();
    let gradient = gradients.get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (index, got) in gradient.into_iter().enumerate() {
        let at = |step: f32| {
            let mut moved = values.clone();
            moved[index] += step;
            loss_of(&moved)
        };
        let want = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        assert!((got - want).abs() < 3e-5, "{index}: {got} is not {want}");
    }
}

/// Logits that are a view into a larger tensor, or transposed, as a projection may leave them.
#[test]
fn any_layout_gives_the_same() {
    let values = numbers(6, 4 * 5, 0.0, 3.0);
    let whole = Var::from_slice(&values, (5, 4), &Device::Cpu).unwrap();
    let (view, targets) = (whole.narrow(0, 2, 3).unwrap(), [3, 1, 0]);
    let want = brute_force(&values[8..], &targets);
    let mean = |losses: &[f64]| (losses.iter().sum::<f64>() / losses.len() as f64) as f32;
    let loss = masked_lm_loss(&view, &targets).unwrap();
    close(&loss, &[mean(&want.0)], 1e-6);
    let gradients = loss.backward().unwrap();
    let mut gradient = vec![0.0; 8];
    gradient.extend(want.1.iter().map(|value| (value / 3.0) as f32));
    close(gradients.get(&whole).unwrap(), &gradient, 1e-7);

    let transposed = Var::from_slice(&values, (5, 4), &Device::Cpu).unwrap();
    let logits = transposed.t().unwrap(); // [4, 5]
    let rows = logits.contiguous().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let want = brute_force(&rows, &[4, 0, 1, 2]);
    close(&masked_lm_loss(&logits, &[4, 0, 1, 2]).unwrap(), &[mean(&want.0)], 1e-6);
}

#[test]
fn a_value_that_is_not_finite_is_seen() {
    for bad in [f32::NAN, f32::INFINITY] {
        let logits = Tensor::new(&[[0.0, 1.0, bad], [0.0, 1.0, 2.0]], &Device::Cpu).unwrap();
        assert!(masked_lm_loss(&logits, &[0, 1]).unwrap().to_scalar::<f32>().unwrap().is_nan());
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (values, targets) = (numbers(2, 9 * 3001, 0.0, 5.0), [7; 9]);
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let logits = Var::from_slice(&values, (9, 3001), &Device::Cpu).unwrap();
            let loss = masked_lm_loss(&logits, &targets).unwrap();
            let gradients = loss.backward().unwrap();
            let gradient = gradients.get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let all = gradient.into_iter().chain([loss.to_scalar::<f32>().unwrap()]);
            all.map(f32::to_bits).collect::<Vec<u32>>()
        })
    };
    let one = with_threads(1);
    assert!([2, 3, 7].into_iter().all(|threads| with_threads(threads) == one));
}

#[test]
fn bad_input_is_one_clear_line() {
    let logits = |rows, dtype| Tensor::zeros((rows, 5), dtype, &Device::Cpu).unwrap();
    for (result, part) in [
        (masked_lm_loss(&logits(0, DType::F32), &[]), "no masked position"),
        (masked_lm_loss(&logits(2, DType::F32), &[1]), "[2, 5] of F32 for 1 targets"),
        (masked_lm_loss(&logits(1, DType::F64), &[1]), "F64"),
        (masked_lm_loss(&logits(2, DType::F32), &[4, 5]), "target 5 where the logits know 5 tokens"),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("fix: ") && !message.contains('\n'), "{message}");
    }
}
