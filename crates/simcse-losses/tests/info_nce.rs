//! InfoNCE against PyTorch, against equation 1 written out in float64, and against finite differences.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use candle_core::{DType, Device, Tensor, Var};
use serde::Deserialize;
use simcse_losses::{Candidates, InfoNceConfig, Similarity, info_nce};
use simcse_random::uniform_bits;

/// Written by `golden/make_losses.py`, which holds the PyTorch code.
#[derive(Deserialize)]
struct Golden {
    temperature: f64,
    size: usize,
    anchors: Vec<f32>,
    positives: Vec<f32>,
    weights: Vec<f32>,
    info_nce: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    candidates: Candidates,
    symmetric: bool,
    similarity: Similarity,
    groups: Option<Vec<u32>>,
    losses: Vec<f32>,
    anchors_gradient: Vec<f32>,
    positives_gradient: Vec<f32>,
}

#[test]
fn losses_and_gradients_equal_pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("golden/losses.json")).unwrap();
    assert_eq!(golden.info_nce.len(), 16);
    let shape = (golden.anchors.len() / golden.size, golden.size);
    for case in &golden.info_nce {
        let anchors = Var::from_slice(&golden.anchors, shape, &Device::Cpu).unwrap();
        let positives = Var::from_slice(&golden.positives, shape, &Device::Cpu).unwrap();
        let config = InfoNceConfig {
            candidates: case.candidates,
            symmetric: case.symmetric,
            similarity: case.similarity,
            temperature: golden.temperature,
            margin: None,
            shared_dropout_mask: false,
            hard_negative_weight: None,
            queue: None,
        };
        let output = info_nce(&anchors, &positives, &config, case.groups.as_deref()).unwrap();
        close(&output.per_example, &case.losses);
        let mean = case.losses.iter().sum::<f32>() / case.losses.len() as f32;
        close(&output.mean().unwrap(), &[mean]);
        let weights = Tensor::new(&golden.weights[..case.losses.len()], &Device::Cpu).unwrap();
        let gradients = (output.per_example * weights).unwrap().sum_all().unwrap().backward().unwrap();
        close(gradients.get(&anchors).unwrap(), &case.anchors_gradient);
        close(gradients.get(&positives).unwrap(), &case.positives_gradient);
    }
}

fn close(got: &Tensor, want: &[f32]) {
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(got.len(), want.len());
    let near = |a: f32, b: f32| (a - b).abs() < 3e-6 * (1.0 + b.abs());
    assert!(got.iter().zip(want).all(|(a, b)| near(*a, *b)), "{got:?} is not {want:?}");
}

/// All forms of the loss.
fn configs(temperature: f64) -> Vec<InfoNceConfig> {
    let mut configs = Vec::new();
    for candidates in [Candidates::OtherView, Candidates::BothViews] {
        for symmetric in [false, true] {
            for similarity in [Similarity::Cosine, Similarity::Dot] {
                configs.push(InfoNceConfig {
                    candidates,
                    symmetric,
                    similarity,
                    temperature,
                    margin: None,
                    shared_dropout_mask: false,
                    hard_negative_weight: None,
                    queue: None,
                });
            }
        }
    }
    configs
}

fn numbers(seed: u64, rows: usize, size: usize) -> Vec<Vec<f64>> {
    let number = |i: usize| f64::from(uniform_bits(seed, i as u32)) / f64::from(u32::MAX) * 2.0 - 1.0;
    (0..rows).map(|row| (0..size).map(|k| number(row * size + k)).collect()).collect()
}

fn tensor(rows: &[Vec<f64>]) -> Tensor {
    Tensor::new(rows.to_vec(), &Device::Cpu).unwrap()
}

/// Equation 1 in float64, candidate by candidate.
fn brute_force(
    anchors: &[Vec<f64>],
    positives: &[Vec<f64>],
    config: &InfoNceConfig,
    groups: &[u32],
) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let similarity = |a: &[f64], b: &[f64]| match config.similarity {
        Similarity::Dot => dot(a, b),
        Similarity::Cosine => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
    };
    let loss = |own: &[Vec<f64>], other: &[Vec<f64>], i: usize| {
        let weight = |b: &[f64]| (similarity(&own[i], b) / config.temperature).exp();
        let positive = weight(&other[i]);
        let mut sum = positive;
        for j in (0..own.len()).filter(|&j| groups[j] != groups[i]) {
            sum += weight(&other[j]);
            if config.candidates == Candidates::BothViews {
                sum += weight(&own[j]);
            }
        }
        (sum / positive).ln()
    };
    let mut losses: Vec<f64> = (0..anchors.len()).map(|i| loss(anchors, positives, i)).collect();
    if config.symmetric {
        losses.extend((0..anchors.len()).map(|i| loss(positives, anchors, i)));
    }
    losses
}

#[test]
fn losses_equal_equation_1_at_the_papers_temperature() {
    let (anchors, positives) = (numbers(1, 9, 6), numbers(2, 9, 6));
    for groups in [[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 0, 0, 4, 1, 6, 7, 8], [5; 9]] {
        for config in configs(0.05) {
            let want = brute_force(&anchors, &positives, &config, &groups);
            for dtype in [DType::F64, DType::F32] {
                let cast = |rows| tensor(rows).to_dtype(dtype).unwrap();
                let output = info_nce(&cast(&anchors), &cast(&positives), &config, Some(&groups)).unwrap();
                assert_eq!(output.per_example.dtype(), dtype);
                let got = output.per_example.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
                let tolerance = if dtype == DType::F64 { 1e-12 } else { 2e-5 };
                let near = got.iter().zip(&want).all(|(a, b)| (a - b).abs() < tolerance * (1.0 + b));
                assert!(got.len() == want.len() && near, "{config:?} {dtype:?}: {got:?} is not {want:?}");
            }
        }
    }
}

#[test]
fn gradients_equal_finite_differences_with_and_without_masks() {
    const STEP: f64 = 1e-6;
    let (anchors, positives) = (numbers(3, 4, 3), numbers(4, 4, 3));
    for groups in [None, Some([1_u32, 0, 1, 2]), Some([1; 4])] {
        let groups = groups.as_ref().map(|groups| groups.as_slice());
        for config in configs(0.2) {
            let variables = [&anchors, &positives].map(|rows| Var::from_tensor(&tensor(rows)).unwrap());
            let output = info_nce(&variables[0], &variables[1], &config, groups).unwrap();
            let gradients = output.mean().unwrap().backward().unwrap();
            for (view, row, k) in (0..24).map(|n| (n / 12, n % 12 / 3, n % 3)) {
                let loss_at = |step: f64| {
                    let mut moved = [anchors.clone(), positives.clone()];
                    moved[view][row][k] += step;
                    let output = info_nce(&tensor(&moved[0]), &tensor(&moved[1]), &config, groups).unwrap();
                    output.mean().unwrap().to_scalar::<f64>().unwrap()
                };
                let want = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
                let gradient = gradients.get(&variables[view]).unwrap();
                let got = gradient.to_vec2::<f64>().unwrap()[row][k];
                assert!(
                    (got - want).abs() < 1e-7,
                    "{config:?} {groups:?} {view} {row} {k}: {got} is not {want}"
                );
            }
        }
    }
}

/// A row of zeros (all maps of a TextCNN dead), a duplicate and a cold temperature at once.
#[test]
fn loss_and_gradient_stay_finite_at_the_edges() {
    let rows = [[0_f32, 0., 0.], [1., 2., 3.], [1., 2., 3.], [-1., 0.5, 0.]];
    for groups in [None, Some([0_u32, 1, 1, 2]), Some([0; 4])] {
        for config in configs(1e-3) {
            let anchors = Var::new(&rows, &Device::Cpu).unwrap();
            let positives = Var::new(&rows, &Device::Cpu).unwrap();
            let groups = groups.as_ref().map(|groups| groups.as_slice());
            let output = info_nce(&anchors, &positives, &config, groups).unwrap();
            let gradients = output.mean().unwrap().backward().unwrap();
            let of = |view: &Var| gradients.get(view).unwrap().clone();
            for tensor in [output.per_example, of(&anchors), of(&positives)] {
                let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert!(values.iter().all(|value| value.is_finite()), "{config:?} {groups:?}: {values:?}");
            }
        }
    }
}

#[test]
fn half_precision_embeddings_give_a_float32_loss() {
    let (anchors, positives) = (tensor(&numbers(5, 4, 8)), tensor(&numbers(6, 4, 8)));
    for config in configs(0.05) {
        let half = |tensor: &Tensor| tensor.to_dtype(DType::BF16).unwrap();
        let rounded = |tensor: &Tensor| half(tensor).to_dtype(DType::F32).unwrap();
        let got = info_nce(&half(&anchors), &half(&positives), &config, None).unwrap().per_example;
        let want = info_nce(&rounded(&anchors), &rounded(&positives), &config, None).unwrap().per_example;
        assert_eq!(got.to_vec1::<f32>().unwrap(), want.to_vec1::<f32>().unwrap());
    }
}

#[test]
fn diagnostics_equal_hand_counts() {
    // Cosines of anchors (rows) and positives: [[1, 0, 0.6], [1, 0, 0.6], [0.6, 0.8, 1]].
    let anchors = Tensor::new(&[[2_f32, 0.], [1., 0.], [3., 4.]], &Device::Cpu).unwrap();
    let positives = Tensor::new(&[[1_f32, 0.], [0., 5.], [3., 4.]], &Device::Cpu).unwrap();
    let of = |similarity, groups: Option<&[u32]>| {
        let config = InfoNceConfig {
            candidates: Candidates::OtherView,
            symmetric: false,
            similarity,
            temperature: 0.5,
            margin: None,
            shared_dropout_mask: false,
            hard_negative_weight: None,
            queue: None,
        };
        info_nce(&anchors, &positives, &config, groups).unwrap().diagnostics().unwrap()
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} is not {b}");

    let plain = of(Similarity::Cosine, None);
    near(plain.positive_cosine, 2.0 / 3.0);
    near(plain.negative_cosine.unwrap(), 3.6 / 6.0);
    near(plain.accuracy, 2.0 / 3.0);
    near(plain.chance_loss, 3_f64.ln());
    // Sentences 0 and 1 are equal: anchor 1 no longer competes with the positive of anchor 0, but with that
    // of anchor 2 still.
    let masked = of(Similarity::Cosine, Some(&[4, 4, 9]));
    near(masked.negative_cosine.unwrap(), (0.6 + 0.6 + 0.6 + 0.8) / 4.0);
    near(masked.accuracy, 2.0 / 3.0);
    near(masked.chance_loss, (2.0 * 2_f64.ln() + 3_f64.ln()) / 3.0);
    assert_eq!(of(Similarity::Cosine, Some(&[1, 1, 1])).negative_cosine, None);
    // A collapsed encoder finds nothing: ties do not count.
    let alike = Tensor::new(&[[1_f32, 2.]; 3], &Device::Cpu).unwrap();
    let collapsed = info_nce(&alike, &alike, &configs(0.05)[0], None).unwrap().diagnostics().unwrap();
    assert_eq!(collapsed.accuracy, 0.0);
    near(collapsed.positive_cosine, 1.0);
    // Dot products: [[2, 0, 6], [1, 0, 3], [3, 20, 25]]. Accuracy follows them, the cosines do not change.
    let dot = of(Similarity::Dot, None);
    near(dot.accuracy, 1.0 / 3.0);
    near(dot.positive_cosine, 2.0 / 3.0);
    near(dot.negative_cosine.unwrap(), 3.6 / 6.0);
}

#[test]
fn bad_input_is_one_clear_line() {
    let config = &configs(0.05)[0];
    let rows = |n| tensor(&numbers(1, n, 3));
    let message = |anchors: &Tensor, positives: &Tensor, config: &InfoNceConfig, groups: Option<&[u32]>| {
        let message = info_nce(anchors, positives, config, groups).unwrap_err().to_string();
        assert!(message.contains("fix: ") && !message.contains('\n'), "{message}");
        message
    };
    assert!(message(&rows(3), &rows(4), config, None).contains("[3, 3] and positives [4, 3]"));
    assert!(message(&rows(1), &rows(1), config, None).contains("a batch of 1 has no negatives"));
    assert!(message(&rows(3), &rows(3), config, Some(&[1, 2])).contains("2 groups for a batch of 3"));
    let cold = InfoNceConfig { temperature: 0.0, ..config.clone() };
    assert!(message(&rows(3), &rows(3), &cold, None).contains("temperature = 0"));
}
