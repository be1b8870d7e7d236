//! Centres of a batch against PyTorch, against the formula in float64, and against finite differences.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use candle_core::{Device, Tensor, Var};
use simcse_losses::{BatchCentresConfig, batch_centres, info_nce};
use simcse_random::uniform_bits;

fn config(views: usize, scale: f64, margin: f64) -> BatchCentresConfig {
    BatchCentresConfig { views, scale, margin, detached_centres: false, equal_centres: false }
}

// import torch, torch.nn.functional as F
// x = torch.tensor([[3., 4., 0.], [-1., 2., 2.], [1., 0., -1.], [2., 2., 1.], [.5, -1., 2.], [2., 1., 2.]],
//                  requires_grad=True)  # 3 views of 2 sentences, view after view
// def loss(s, m, detached):
//     u = F.normalize(x).view(3, 2, 3); c = u.detach() if detached else u
//     total = c.sum(0); rows = []
//     for k in range(3):
//         for i in range(2):
//             cos = [s * (F.cosine_similarity(u[k, i], total[j] - c[k, i] if j == i else total[j], 0) - m * (i == j))
//                    for j in range(2)]
//             rows.append(F.cross_entropy(torch.stack(cos)[None], torch.tensor([i])))
//     return torch.stack(rows)
// for case in ((20., 0., False), (10., .3, False), (20., 0., True)):
//     l = loss(*case); print(l.tolist(), torch.autograd.grad(l.mean(), x)[0].flatten().tolist())
#[test]
fn losses_and_gradients_equal_pytorch() {
    let rows = [[3_f32, 4., 0.], [-1., 2., 2.], [1., 0., -1.], [2., 2., 1.], [0.5, -1., 2.], [2., 1., 2.]];
    for (scale, margin, detached_centres, losses, gradient) in GOLDEN {
        let embeddings = Var::new(&rows, &Device::Cpu).unwrap();
        let config = BatchCentresConfig { detached_centres, ..config(3, scale, margin) };
        let found = batch_centres(&embeddings, &config).unwrap();
        close(&found.per_view, &losses);
        let gradients = found.per_view.mean_all().unwrap().backward().unwrap();
        close(gradients.get(&embeddings).unwrap(), &gradient);
    }
}

/// Scale, margin, whether centres are detached, losses, gradient of the mean.
type Golden = (f64, f64, bool, [f32; 6], [f32; 18]);

#[rustfmt::skip]
const GOLDEN: [Golden; 3] = [
    (20.0, 0.0, false,
     [11.12584, 1.4781843e-05, 0.045635182, 1.3015797, 15.457875, 0.76971567],
     [-0.87743634, 0.6580773, 0.27368194, -0.22707258, -0.19085708, 0.0773208, -1.0708055, -0.99224436, -1.0708053, 0.62797505, -0.34331188, -0.5693263, -1.7233493, 0.19181126, 0.526743, 0.39623556, -0.5852409, -0.103615105]),
    (10.0, 0.3, false,
     [8.563104, 0.074474685, 1.6752576, 3.5219789, 10.728959, 3.1190503],
     [-0.56873375, 0.42655033, 0.35172716, -0.106482446, -0.01820647, -0.03503475, -0.57891035, 0.00030737696, -0.57891035, 0.46183017, -0.19908649, -0.5254874, -1.2915123, 0.32141304, 0.48358458, 0.47201884, -0.43070325, -0.25666717]),
    (20.0, 0.0, true,
     [11.12584, 1.4781843e-05, 0.045635182, 1.3015797, 15.457875, 0.76971567],
     [-0.5573325, 0.4179994, 0.3273324, 1.614757e-06, 1.4363724e-06, -6.289938e-07, -0.016344927, 0.03787262, -0.016344927, 0.59723574, -0.3158883, -0.56269497, -0.8038503, 0.7481402, 0.5750327, 0.4571146, -0.33186832, -0.29118046]),
];

fn close(got: &Tensor, want: &[f32]) {
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(got.len(), want.len());
    let near = |a: f32, b: f32| (a - b).abs() < 1e-5 * (1.0 + b.abs());
    assert!(got.iter().zip(want).all(|(a, b)| near(*a, *b)), "{got:?} is not {want:?}");
}

fn numbers(seed: u64, count: usize) -> Vec<f64> {
    let number = |i| f64::from(uniform_bits(seed, i as u32)) / f64::from(u32::MAX) * 2.0 - 1.0;
    (0..count).map(number).collect()
}

fn unit(vector: &[f64]) -> Vec<f64> {
    let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    vector.iter().map(|value| value / norm).collect()
}

/// The formula, view by view: the mean loss of `moving` views among centres made of `fixed` ones.
fn brute_force(moving: &[f64], fixed: &[f64], size: usize, config: &BatchCentresConfig) -> f64 {
    let rows = moving.len() / size;
    let sentences = rows / config.views;
    let views: Vec<Vec<f64>> = fixed.chunks(size).map(unit).collect();
    let mut total = 0.0;
    for row in 0..rows {
        let view = unit(&moving[row * size..(row + 1) * size]);
        let logit = |sentence: usize| {
            let left_out = |other: usize| match config.equal_centres {
                true => other / sentences == row / sentences,
                false => other == row,
            };
            let of_sentence = (0..rows).filter(|other| other % sentences == sentence && !left_out(*other));
            let mut centre = vec![0.0; size];
            of_sentence.for_each(|other| centre.iter_mut().zip(&views[other]).for_each(|(sum, x)| *sum += x));
            let cosine: f64 = unit(&centre).iter().zip(&view).map(|(a, b)| a * b).sum();
            config.scale * (cosine - if sentence == row % sentences { config.margin } else { 0.0 })
        };
        let sum: f64 = (0..sentences).map(|sentence| logit(sentence).exp()).sum();
        total += sum.ln() - logit(row % sentences);
    }
    total / rows as f64
}

#[test]
fn loss_and_gradient_equal_the_formula_for_any_shape() {
    const STEP: f64 = 1e-6;
    for seed in 0..24 {
        let (views, sentences, size) = (2 + seed as usize % 3, 2 + seed as usize % 4, 2 + seed as usize % 5);
        let values = numbers(seed, views * sentences * size);
        let config = BatchCentresConfig {
            detached_centres: seed % 2 == 1,
            equal_centres: seed % 5 > 2,
            ..config(views, [1.0, 20.0][seed as usize / 12], [0.0, 0.2][seed as usize / 2 % 2])
        };
        let embeddings = Var::from_vec(values.clone(), (views * sentences, size), &Device::Cpu).unwrap();
        let found = batch_centres(&embeddings, &config).unwrap();
        let loss = found.per_view.mean_all().unwrap();
        let want = brute_force(&values, &values, size, &config);
        assert!((loss.to_scalar::<f64>().unwrap() - want).abs() < 1e-10, "{seed}: {want}");
        let gradients = loss.backward().unwrap();
        let gradient = gradients.get(&embeddings).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (index, got) in gradient.into_iter().enumerate() {
            let at = |step: f64| {
                let mut moved = values.clone();
                moved[index] += step;
                let fixed = if config.detached_centres { &values } else { &moved };
                brute_force(&moved, fixed, size, &config)
            };
            let want = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!((got - want).abs() < 1e-6 * (1.0 + want.abs()), "{seed} {index}: {got} {want}");
        }
    }
}

/// With two views a centre without the one is the other.
#[test]
fn two_views_and_equal_centres_are_symmetric_info_nce() {
    let embeddings = Tensor::from_vec(numbers(7, 2 * 5 * 4), (10, 4), &Device::Cpu).unwrap();
    let of_centres = BatchCentresConfig { equal_centres: true, ..config(2, 20.0, 0.0) };
    let centres = batch_centres(&embeddings, &of_centres).unwrap();
    let [first, second] = [0, 5].map(|start| embeddings.narrow(0, start, 5).unwrap());
    let symmetric = "candidates = \"n\"\nsymmetric = true\nsimilarity = \"cosine\"\ntemperature = 0.05";
    let contrast = info_nce(&first, &second, &toml::from_str(symmetric).unwrap(), None).unwrap();
    let [got, want] = [centres.per_view, contrast.per_example].map(|losses| losses.to_vec1::<f64>().unwrap());
    assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-10), "{got:?} {want:?}");
    assert_eq!(got.len(), want.len());
}

#[test]
fn what_a_batch_looked_like() {
    // Two sentences, at right angles, each view of them equal.
    let embeddings = Tensor::new(&[[1_f32, 0.], [0., 2.], [3., 0.], [0., 4.]], &Device::Cpu).unwrap();
    let seen = batch_centres(&embeddings, &config(2, 10.0, 0.1)).unwrap().diagnostics().unwrap();
    assert_eq!((seen.positive_cosine, seen.negative_cosine, seen.accuracy), (1.0, Some(0.0), 1.0));
    // Products with the axes are exact, so equal cosines are ties on every machine.
    let alike = Tensor::new(&[[0_f32, 2., 0.]; 6], &Device::Cpu).unwrap();
    let found = batch_centres(&alike, &config(2, 10.0, 0.1)).unwrap();
    let (loss, seen) = (found.per_view.mean_all().unwrap(), found.diagnostics().unwrap());
    assert_eq!(seen.accuracy, 0.0);
    assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - seen.chance_loss).abs() < 1e-5, "{seen:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let rows = |rows: usize| Tensor::ones((rows, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    for (count, views) in [(5, 2), (3, 3), (0, 2)] {
        let message = batch_centres(&rows(count), &config(views, 20.0, 0.0)).unwrap_err().to_string();
        assert!(message.contains("; fix: "), "{message}");
    }
    for (key, config) in [
        ("views", config(1, 20.0, 0.0)),
        ("scale", config(2, f64::NAN, 0.0)),
        ("margin", config(2, 20.0, -0.1)),
    ] {
        let message = batch_centres(&rows(4), &config).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains("fix: "), "{message}");
    }
    let zeros = Var::zeros((4, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let loss = batch_centres(&zeros, &config(2, 20.0, 0.1)).unwrap().per_view.mean_all().unwrap();
    let gradients = loss.backward().unwrap();
    let gradient = gradients.get(&zeros).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(gradient.iter().all(|value| value.is_finite()), "{gradient:?}");
}
