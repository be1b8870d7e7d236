//! InfoNCE with hard negatives, a queue and equal texts, against PyTorch and against hand counts.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use candle_core::{DType, Device, Tensor, Var};
use serde::Deserialize;
use simcse_losses::{
    Candidates, HardNegatives, InfoNceConfig, Negatives, RowGroups, Similarity, info_nce_with,
};

/// Written by `golden/make_negatives.py`, which holds the PyTorch code.
#[derive(Deserialize)]
struct Golden {
    temperature: f64,
    size: usize,
    anchors: Vec<f32>,
    positives: Vec<f32>,
    hard: Vec<f32>,
    queue: Vec<f32>,
    weights: Vec<f32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    candidates: Candidates,
    symmetric: bool,
    similarity: Similarity,
    owners: Option<Vec<u32>>,
    weight: Option<f64>,
    queue: bool,
    groups: Option<Groups>,
    losses: Vec<f32>,
    anchors_gradient: Vec<f32>,
    positives_gradient: Vec<f32>,
    hard_gradient: Vec<f32>,
}

#[derive(Deserialize)]
struct Groups {
    anchors: Vec<u32>,
    positives: Vec<u32>,
    hard: Vec<u32>,
}

impl Groups {
    fn rows(&self) -> RowGroups<'_> {
        RowGroups { anchors: &self.anchors, positives: &self.positives, hard: &self.hard }
    }
}

#[test]
fn losses_and_gradients_equal_pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("golden/negatives.json")).unwrap();
    assert_eq!(golden.cases.len(), 36);
    let var = |values: &[f32]| {
        Var::from_slice(values, (values.len() / golden.size, golden.size), &Device::Cpu).unwrap()
    };
    for case in &golden.cases {
        let owners = case.owners.clone().unwrap_or_default();
        let (anchors, positives, queue) = (var(&golden.anchors), var(&golden.positives), var(&golden.queue));
        let embeddings = var(&golden.hard[..owners.len() * golden.size]);
        let weight = case.weight.unwrap_or(1.0);
        let hard = HardNegatives { embeddings: &embeddings, owners: &owners, weight };
        let negatives = Negatives {
            hard: case.owners.as_ref().map(|_| hard),
            queue: case.queue.then_some(queue.as_tensor()),
        };
        let config = InfoNceConfig {
            candidates: case.candidates,
            symmetric: case.symmetric,
            similarity: case.similarity,
            temperature: golden.temperature,
            margin: None,
            shared_dropout_mask: false,
            hard_negative_weight: case.weight,
            queue: None,
        };
        let groups = case.groups.as_ref().map(Groups::rows);
        let output = info_nce_with(&anchors, &positives, &negatives, &config, groups.as_ref()).unwrap();
        close(&output.per_example, &case.losses);
        let weights = Tensor::new(&golden.weights[..case.losses.len()], &Device::Cpu).unwrap();
        let gradients = (output.per_example * weights).unwrap().sum_all().unwrap().backward().unwrap();
        close(gradients.get(&anchors).unwrap(), &case.anchors_gradient);
        close(gradients.get(&positives).unwrap(), &case.positives_gradient);
        if case.owners.is_some() {
            close(gradients.get(&embeddings).unwrap(), &case.hard_gradient);
        }
        assert!(gradients.get(&queue).is_none(), "the queue is detached");
    }
}

fn close(got: &Tensor, want: &[f32]) {
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(got.len(), want.len());
    let near = |a: f32, b: f32| (a - b).abs() < 3e-6 * (1.0 + b.abs());
    assert!(got.iter().zip(want).all(|(a, b)| near(*a, *b)), "{got:?} is not {want:?}");
}

#[test]
fn diagnostics_equal_hand_counts() {
    let rows = |rows: &[[f32; 2]]| Tensor::from_slice(&rows.concat(), (rows.len(), 2), &Device::Cpu).unwrap();
    // Cosines of the anchors: positives [[1, 0], [0, 1]], hard negative of pair 1 [1, 0], queue [0.6, 0.8].
    let (anchors, positives) = (rows(&[[2., 0.], [0., 1.]]), rows(&[[1., 0.], [0., 3.]]));
    let (hard, queue) = (rows(&[[5., 0.]]), rows(&[[3., 4.]]));
    let of = |similarity, groups: Option<RowGroups<'_>>| {
        let config = InfoNceConfig { similarity, ..config() };
        let hard = HardNegatives { embeddings: &hard, owners: &[1], weight: 2.0 };
        let negatives = Negatives { hard: Some(hard), queue: Some(&queue) };
        let output = info_nce_with(&anchors, &positives, &negatives, &config, groups.as_ref()).unwrap();
        output.diagnostics().unwrap()
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    let plain = of(Similarity::Cosine, None);
    near(plain.positive_cosine, 1.0);
    near(plain.negative_cosine.unwrap(), (1.0 + 0.6 + 0.8) / 6.0);
    near(plain.accuracy, 0.5); // the hard negative of pair 1 is no worse for anchor 0 than its positive
    near(plain.chance_loss, (4_f64.ln() + 5_f64.ln()) / 2.0);
    // The hard negative is the text of anchor 0.
    let masked = of(Similarity::Cosine, Some(RowGroups { anchors: &[1, 2], positives: &[3, 4], hard: &[1] }));
    near(masked.negative_cosine.unwrap(), (0.6 + 0.8) / 5.0);
    near(masked.accuracy, 1.0);
    near(masked.chance_loss, (3_f64.ln() + 5_f64.ln()) / 2.0);
    // Dot products: anchor 0 has 2 | 0, 10, 6, anchor 1 has 3 | 0, 0, 4. Cosines do not change.
    let dot = of(Similarity::Dot, None);
    near(dot.accuracy, 0.0);
    near(dot.negative_cosine.unwrap(), (1.0 + 0.6 + 0.8) / 6.0);
}

fn config() -> InfoNceConfig {
    InfoNceConfig {
        candidates: Candidates::OtherView,
        symmetric: false,
        similarity: Similarity::Cosine,
        temperature: 0.05,
        margin: None,
        shared_dropout_mask: false,
        hard_negative_weight: None,
        queue: None,
    }
}

fn ones(rows: usize, size: usize) -> Tensor {
    Tensor::ones((rows, size), DType::F32, &Device::Cpu).unwrap()
}

fn queued(queue: &Tensor) -> Negatives<'_> {
    Negatives { hard: None, queue: Some(queue) }
}

#[test]
fn bad_input_is_one_clear_line() {
    let embeddings = ones(2, 3);
    let hard = |owners, weight| Some(HardNegatives { embeddings: &embeddings, owners, weight });
    let with = |hard| Negatives { hard, queue: None };
    let message = |negatives: Negatives<'_>, config: &InfoNceConfig, groups: Option<RowGroups<'_>>| {
        let result = info_nce_with(&ones(3, 3), &ones(3, 3), &negatives, config, groups.as_ref());
        let message = result.unwrap_err().to_string();
        assert!(message.contains("fix: ") && !message.contains('\n'), "{message}");
        message
    };
    let config = &config();
    assert!(message(with(hard(&[1], 1.0)), config, None).contains("[2, 3] for 1 owners"));
    assert!(message(with(hard(&[], 1.0)), config, None).contains("[2, 3] for 0 owners"));
    assert!(message(with(hard(&[1, 3], 1.0)), config, None).contains("pair 3 in a batch of 3"));
    assert!(message(with(hard(&[1, 1], 1.0)), config, None).contains("two hard negatives of pair 1"));
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(message(with(hard(&[1, 2], weight)), config, None).contains("weight of"));
    }
    let weighted = InfoNceConfig { hard_negative_weight: Some(2.0), ..config.clone() };
    assert!(message(with(hard(&[1, 2], 1.0)), &weighted, None).contains("weight 1 where"));
    assert!(message(queued(&ones(4, 2)), config, None).contains("queue of [4, 2]"));
    let groups = |hard| Some(RowGroups { anchors: &[1, 2, 3], positives: &[1, 2, 3], hard });
    assert!(
        message(with(hard(&[1, 2], 1.0)), config, groups(&[1])).contains("1 groups for a number of hard")
    );
    assert!(message(Negatives::default(), config, groups(&[1])).contains("1 groups for a number of hard"));
    let short = Some(RowGroups { anchors: &[1, 2, 3], positives: &[1, 2], hard: &[] });
    assert!(message(Negatives::default(), config, short).contains("2 groups for a batch of 3"));
    // One pair alone, also beside hard negatives and a queue that are empty.
    let empty = ones(2, 3).narrow(0, 0, 0).unwrap();
    let none = HardNegatives { embeddings: &empty, owners: &[], weight: 1.0 };
    for negatives in [Negatives::default(), with(Some(none)), queued(&empty)] {
        let one = info_nce_with(&ones(1, 3), &ones(1, 3), &negatives, config, None);
        assert!(one.unwrap_err().to_string().contains("a batch of 1 has no negatives"));
    }
}
