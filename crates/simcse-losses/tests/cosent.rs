//! CoSENT against PyTorch, against its formula in float64, and against finite differences.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use candle_core::{DType, Device, Tensor, Var};
use simcse_losses::{CosentConfig, cosent};
use simcse_random::uniform_bits;

// import torch, torch.nn.functional as F
// a = torch.tensor([[3., 4., 0.], [-1., 2., 2.], [1., 0., -1.], [2., 2., 1.]], requires_grad=True)
// b = torch.tensor([[.5, -1., 2.], [2., 1., 2.], [0., -3., 4.], [1., 2., 2.]], requires_grad=True)
// cos = F.cosine_similarity(a, b)
// def cosent(gold, scale):
//     pairs = [(i, j) for i in range(4) for j in range(4) if gold[i] > gold[j]]
//     return torch.logsumexp(torch.stack([torch.tensor(0.)] + [scale * (cos[j] - cos[i]) for i, j in pairs]), 0)
// loss = cosent(gold, scale); print(loss, torch.autograd.grad(loss, (a, b)))
#[test]
fn loss_and_gradients_equal_pytorch() {
    for (gold, scale, loss, first_gradient, second_gradient) in GOLDEN {
        let first =
            Var::new(&[[3_f32, 4., 0.], [-1., 2., 2.], [1., 0., -1.], [2., 2., 1.]], &Device::Cpu).unwrap();
        let second =
            Var::new(&[[0.5_f32, -1., 2.], [2., 1., 2.], [0., -3., 4.], [1., 2., 2.]], &Device::Cpu).unwrap();
        let got = cosent(&first, &second, &gold, &CosentConfig { scale }).unwrap();
        close(&got, &[loss]);
        let gradients = got.backward().unwrap();
        close(gradients.get(&first).unwrap(), &first_gradient);
        close(gradients.get(&second).unwrap(), &second_gradient);
    }
}

/// Gold scores, scale, loss, gradient of the first and of the second embeddings.
type Golden = ([f32; 4], f64, f32, [f32; 12], [f32; 12]);

#[rustfmt::skip]
const GOLDEN: [Golden; 4] = [
    ([3.0, 1.0, 1.0, 4.5], 20.0, 13.253248,
     [-1.3965918, 1.0474439, -3.4914794, 5.4320884, 0.24691308, 2.469131, 9.521318e-09, -1.4281978e-08, 9.52132e-09, 4.1824977e-10, -1.1949985e-10, -5.9749955e-10],
     [-5.6528716, -6.1516542, -1.6626092, -4.197523, 3.4567835, 2.469131, 4.760659e-09, -2.2851165e-09, -1.7138371e-09, -5.9749955e-10, -1.1949985e-10, 4.1824977e-10]),
    ([0.0, 1.0, 0.0, 1.0], 2.0, 0.44603056,
     [0.033522937, -0.025142202, 0.08380734, -0.13851935, -0.006296329, -0.06296334, 0.06777043, -0.10165565, 0.06777043, 0.018119501, -0.0051770024, -0.025885005],
     [0.13568808, 0.14766057, 0.039908256, 0.10703768, -0.08814867, -0.06296334, 0.033885214, -0.016264902, -0.012198677, -0.025885005, -0.0051770024, 0.018119501]),
    ([5.0, 0.0, 3.0, 2.0], 1.0, 2.6631794,
     [-0.027616821, 0.020712618, -0.06904206, 0.10088427, 0.00458565, 0.04585649, -0.12468242, 0.18702362, -0.12468243, -0.04017391, 0.011478253, 0.05739129],
     [-0.11178239, -0.12164554, -0.03287717, -0.077956036, 0.06419909, 0.04585649, -0.062341206, 0.02992378, 0.022442833, 0.05739129, 0.011478253, -0.04017391]),
    ([0.0, 0.0, 1.0, 0.0], 100.0, 145.45743,
     [0.0, 0.0, 0.0, 1.3550794e-18, 6.1594505e-20, 6.1594515e-19, -28.284271, 42.42641, -28.284271, -8.641978, 2.4691334, 12.345678],
     [0.0, 0.0, 0.0, -1.0471068e-18, 8.623232e-19, 6.1594515e-19, -14.142136, 6.788225, 5.0911684, 12.345678, 2.4691334, -8.641978]),
];

fn close(got: &Tensor, want: &[f32]) {
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(got.len(), want.len());
    let near = |a: f32, b: f32| (a - b).abs() < 3e-6 * (1.0 + b.abs());
    assert!(got.iter().zip(want).all(|(a, b)| near(*a, *b)), "{got:?} is not {want:?}");
}

fn numbers(seed: u64, rows: usize, size: usize) -> Vec<f64> {
    (0..rows * size)
        .map(|i| f64::from(uniform_bits(seed, i as u32)) / f64::from(u32::MAX) * 2.0 - 1.0)
        .collect()
}

/// The formula, pair of pairs by pair of pairs.
fn brute_force(first: &[f64], second: &[f64], size: usize, gold: &[f32], scale: f64) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosines: Vec<f64> = first
        .chunks(size)
        .zip(second.chunks(size))
        .map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt())
        .collect();
    let mut sum = 1.0;
    for i in 0..gold.len() {
        for j in 0..gold.len() {
            if gold[i] > gold[j] {
                sum += (scale * (cosines[j] - cosines[i])).exp();
            }
        }
    }
    sum.ln()
}

#[test]
fn loss_and_gradients_equal_the_formula_for_any_shape() {
    const STEP: f64 = 1e-6;
    for seed in 0..30 {
        let (pairs, size) = (2 + seed as usize % 7, 2 + seed as usize % 4);
        let values = [numbers(2 * seed, pairs, size), numbers(2 * seed + 1, pairs, size)];
        // Few different scores, so that some are equal; never all.
        let gold: Vec<f32> =
            (0..pairs).map(|i| (i * (seed as usize + 1) % 3) as f32 + (i / 4) as f32).collect();
        if gold.iter().all(|score| *score == gold[0]) {
            continue;
        }
        for scale in [1.0, 20.0] {
            let formula = |values: &[Vec<f64>; 2]| brute_force(&values[0], &values[1], size, &gold, scale);
            let [first, second] = values
                .each_ref()
                .map(|values| Var::from_vec(values.clone(), (pairs, size), &Device::Cpu).unwrap());
            let loss = cosent(&first, &second, &gold, &CosentConfig { scale }).unwrap();
            assert!((loss.to_scalar::<f64>().unwrap() - formula(&values)).abs() < 1e-11);
            let gradients = loss.backward().unwrap();
            for (side, variable) in [&first, &second].into_iter().enumerate() {
                let gradient =
                    gradients.get(variable).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
                for (index, got) in gradient.into_iter().enumerate() {
                    let at = |step: f64| {
                        let mut moved = values.clone();
                        moved[side][index] += step;
                        formula(&moved)
                    };
                    let want = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                    assert!(
                        (got - want).abs() < 1e-6 * (1.0 + want.abs()),
                        "{seed} {side} {index}: {got} {want}"
                    );
                }
            }
        }
    }
}

/// exp(1000 · 2) is far beyond float32; vectors of zeros have no direction.
#[test]
fn loss_and_gradient_stay_finite_at_the_edges() {
    let rows = |rows: &[[f32; 2]; 3]| Var::new(rows, &Device::Cpu).unwrap();
    let (first, second) = (rows(&[[1., 0.], [1., 0.], [0., 0.]]), rows(&[[-1., 0.], [1., 0.], [0., 0.]]));
    for (gold, want) in [([1., 0., 0.5], 2000.0), ([0., 1., 0.5], 0.0), ([1., 1., 1.], 0.0)] {
        let loss = cosent(&first, &second, &gold, &CosentConfig { scale: 1000.0 }).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), want);
        let gradients = loss.backward().unwrap();
        for variable in [&first, &second] {
            let gradient = gradients.get(variable).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(gradient.iter().all(|value| value.is_finite()), "{gradient:?}");
        }
    }
}

#[test]
fn half_precision_embeddings_give_a_float32_loss() {
    let half = |seed| {
        let values = Tensor::from_vec(numbers(seed, 4, 8), (4, 8), &Device::Cpu).unwrap();
        values.to_dtype(DType::BF16).unwrap()
    };
    let (first, second, gold) = (half(1), half(2), [1., 0., 1., 0.]);
    let config = CosentConfig { scale: 20.0 };
    let got = cosent(&first, &second, &gold, &config).unwrap().to_scalar::<f32>().unwrap();
    let single = |half: &Tensor| half.to_dtype(DType::F32).unwrap();
    let want = cosent(&single(&first), &single(&second), &gold, &config).unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(got, want);
}

#[test]
fn bad_input_is_one_clear_line() {
    let rows = |rows| Tensor::ones((rows, 3), DType::F32, &Device::Cpu).unwrap();
    let of = |count, gold: &[f32], scale| cosent(&rows(2), &rows(count), gold, &CosentConfig { scale });
    for (result, part) in [
        (of(3, &[1., 2.], 20.), "[2, 3] and [3, 3]"),
        (of(2, &[1., 2., 3.], 20.), "for 3 gold scores"),
        (of(2, &[1., f32::NAN], 20.), "score of pair 1 (from 0) is NaN"),
        (of(2, &[f32::INFINITY, 1.], 20.), "score of pair 0 (from 0) is inf"),
        (of(2, &[1., 2.], 0.), "scale = 0"),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("fix: ") && !message.contains('\n'), "{message}");
    }
}
