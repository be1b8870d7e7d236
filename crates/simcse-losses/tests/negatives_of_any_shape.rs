//! InfoNCE with hard negatives, a queue and equal texts: batches of random shapes against equation 5 written
//! out in float64, and against finite differences.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use candle_core::{DType, Device, Tensor, Var};
use simcse_losses::{
    Candidates, HardNegatives, InfoNce, InfoNceConfig, Negatives, RowGroups, Similarity, info_nce,
    info_nce_with,
};
use simcse_random::uniform_bits;

/// Which texts are equal.
#[derive(Debug, Clone)]
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

/// A batch in float64, of any shape.
#[derive(Debug, Clone)]
struct Batch {
    config: InfoNceConfig,
    /// Anchors and positives.
    views: [Vec<Vec<f64>>; 2],
    hard: Vec<Vec<f64>>,
    owners: Vec<u32>,
    weight: f64,
    queue: Vec<Vec<f64>>,
    groups: Option<Groups>,
}

impl Batch {
    /// A shape and values drawn from the seed.
    fn drawn(seed: u64) -> Self {
        let mut counter = 0;
        let mut bits = || {
            counter += 1;
            uniform_bits(seed, counter) as usize
        };
        let (pairs, size, queued) = (1 + bits() % 6, 1 + bits() % 5, bits() % 4);
        let rotation = bits();
        let owners: Vec<u32> =
            (0..pairs).map(|i| (i + rotation) % pairs).filter(|_| bits() % 3 > 0).map(|i| i as u32).collect();
        // One pair alone has no negative without a queue.
        let queued = if pairs == 1 && owners.is_empty() { queued.max(1) } else { queued };
        let config = InfoNceConfig {
            candidates: [Candidates::OtherView, Candidates::BothViews][bits() % 2],
            symmetric: bits() % 2 == 0,
            similarity: [Similarity::Cosine, Similarity::Dot][bits() % 2],
            temperature: [0.05, 0.3, 2.0][bits() % 3],
            margin: [None, Some(0.2)][bits() % 2],
            shared_dropout_mask: false,
            hard_negative_weight: None,
            queue: None,
        };
        let weight = [1.0, 0.25, 3.0][bits() % 3];
        let mut texts = |count: usize| (0..count).map(|_| (bits() % 9) as u32).collect::<Vec<u32>>();
        let groups = Groups { anchors: texts(pairs), positives: texts(pairs), hard: texts(owners.len()) };
        let groups = (bits() % 3 > 0).then_some(groups);
        let mut rows = |count: usize| -> Vec<Vec<f64>> {
            let mut number = || bits() as f64 / f64::from(u32::MAX) * 2.0 - 1.0;
            (0..count).map(|_| (0..size).map(|_| number()).collect()).collect()
        };
        let (views, hard, queue) = ([rows(pairs), rows(pairs)], rows(owners.len()), rows(queued));
        Self { config, views, hard, owners, weight, queue, groups }
    }

    fn loss(&self, dtype: DType) -> InfoNce {
        let [anchors, positives, hard, queue] = self.tensors().map(|tensor| tensor.to_dtype(dtype).unwrap());
        self.loss_of(&anchors, &positives, &hard, &queue)
    }

    fn tensors(&self) -> [Tensor; 4] {
        let size = self.views[0][0].len();
        [&self.views[0], &self.views[1], &self.hard, &self.queue]
            .map(|rows| Tensor::from_vec(rows.concat(), (rows.len(), size), &Device::Cpu).unwrap())
    }

    fn loss_of(&self, anchors: &Tensor, positives: &Tensor, hard: &Tensor, queue: &Tensor) -> InfoNce {
        let hard = HardNegatives { embeddings: hard, owners: &self.owners, weight: self.weight };
        let negatives = Negatives { hard: Some(hard), queue: Some(queue) };
        let groups = self.groups.as_ref().map(Groups::rows);
        info_nce_with(anchors, positives, &negatives, &self.config, groups.as_ref()).unwrap()
    }

    /// Equation 5 with its weight, candidate by candidate.
    fn brute_force(&self) -> Vec<f64> {
        let anchors = (0..if self.config.symmetric { 2 } else { 1 })
            .flat_map(|view| (0..self.views[0].len()).map(move |pair| (view, pair)));
        anchors.map(|(view, pair)| self.brute_force_of(view, pair)).collect()
    }

    fn brute_force_of(&self, view: usize, pair: usize) -> f64 {
        let texts = self.groups.as_ref().map(|groups| [&groups.anchors, &groups.positives]);
        let is_equal = |text: &dyn Fn(&Groups) -> u32| {
            let Some((texts, groups)) = texts.zip(self.groups.as_ref()) else { return false };
            text(groups) == texts[0][pair] || text(groups) == texts[1][pair]
        };
        let score = |candidate: &[f64]| self.score(&self.views[view][pair], candidate);
        let margin = self.config.margin.unwrap_or(0.0);
        let positive = score(&self.views[1 - view][pair]) / (margin / self.config.temperature).exp();
        let mut sum = positive;
        for other in (0..self.views[0].len()).filter(|&other| other != pair) {
            if !is_equal(&|groups| [&groups.anchors, &groups.positives][1 - view][other]) {
                sum += score(&self.views[1 - view][other]);
            }
            let is_inside = self.config.candidates == Candidates::BothViews;
            if is_inside && !is_equal(&|groups| [&groups.anchors, &groups.positives][view][other]) {
                sum += score(&self.views[view][other]);
            }
        }
        for (number, owner) in self.owners.iter().enumerate() {
            if !is_equal(&|groups| groups.hard[number]) {
                let weight = if *owner as usize == pair { self.weight } else { 1.0 };
                sum += weight * score(&self.hard[number]);
            }
        }
        sum += self.queue.iter().map(|row| score(row)).sum::<f64>();
        (sum / positive).ln()
    }

    /// exp(sim / τ)
    fn score(&self, a: &[f64], b: &[f64]) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let similarity = match self.config.similarity {
            Similarity::Dot => dot(a, b),
            Similarity::Cosine => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        };
        (similarity / self.config.temperature).exp()
    }
}

#[test]
fn losses_equal_equation_5_for_any_shape() {
    for batch in (0..400).map(Batch::drawn) {
        let want = batch.brute_force();
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 5e-5)] {
            let losses = batch.loss(dtype).per_example;
            assert_eq!(losses.dtype(), dtype);
            let got = losses.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            let near = got.iter().zip(&want).all(|(a, b)| (a - b).abs() < tolerance * (1.0 + b));
            assert!(got.len() == want.len() && near, "{batch:?} {dtype:?}: {got:?} is not {want:?}");
        }
    }
}

#[test]
fn gradients_equal_finite_differences() {
    const STEP: f64 = 1e-6;
    for mut batch in (0..40).map(Batch::drawn) {
        batch.config.temperature = batch.config.temperature.max(0.3);
        let [anchors, positives, hard, queue] =
            batch.tensors().map(|tensor| Var::from_tensor(&tensor).unwrap());
        let mean = batch.loss_of(&anchors, &positives, &hard, &queue).mean().unwrap();
        let gradients = mean.backward().unwrap();
        for (kind, variable) in [&anchors, &positives, &hard].into_iter().enumerate() {
            let Some(gradient) = gradients.get(variable) else {
                assert_eq!(variable.elem_count(), 0, "{batch:?}");
                continue;
            };
            for (row, values) in gradient.to_vec2::<f64>().unwrap().into_iter().enumerate() {
                for (k, got) in values.into_iter().enumerate() {
                    let loss_at = |step: f64| {
                        let mut moved = batch.clone();
                        let [anchors, positives] = &mut moved.views;
                        [anchors, positives, &mut moved.hard][kind][row][k] += step;
                        moved.loss(DType::F64).mean().unwrap().to_scalar::<f64>().unwrap()
                    };
                    let want = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
                    let near = (got - want).abs() < 1e-6 * (1.0 + want.abs());
                    assert!(near, "{batch:?} {kind} {row} {k}: {got} is not {want}");
                }
            }
        }
    }
}

/// The symmetric loss is the loss of the batch and that of the batch with its views exchanged.
#[test]
fn symmetric_is_both_directions_of_the_same_formula() {
    for mut batch in (0..60).map(Batch::drawn) {
        batch.config.symmetric = true;
        let both = batch.loss(DType::F64).per_example.to_vec1::<f64>().unwrap();
        batch.config.symmetric = false;
        let mut apart = batch.loss(DType::F64).per_example.to_vec1::<f64>().unwrap();
        batch.views.reverse();
        if let Some(groups) = &mut batch.groups {
            std::mem::swap(&mut groups.anchors, &mut groups.positives);
        }
        apart.extend(batch.loss(DType::F64).per_example.to_vec1::<f64>().unwrap());
        assert!(both.iter().zip(&apart).all(|(a, b)| (a - b).abs() < 1e-12), "{batch:?}");
    }
}

/// Diagnostics count every negative: the loss of an encoder that maps all to one point is `chance_loss`.
#[test]
fn a_collapsed_encoder_has_the_chance_loss() {
    for mut batch in (0..60).map(Batch::drawn) {
        let all = batch.views.iter_mut().flatten().chain(&mut batch.hard).chain(&mut batch.queue);
        all.for_each(|row| row.fill(0.7));
        let output = batch.loss(DType::F64);
        let diagnostics = output.diagnostics().unwrap();
        let loss = output.mean().unwrap().to_scalar::<f64>().unwrap();
        assert!((diagnostics.chance_loss - loss).abs() < 1e-12, "{batch:?}: {diagnostics:?} {loss}");
        assert!((diagnostics.positive_cosine - 1.0).abs() < 1e-12);
    }
}

/// The first batch of a queue, and a batch of triplets in which no pair has a hard negative.
#[test]
fn empty_negatives_are_none() {
    for batch in (0..20).map(Batch::drawn).filter(|batch| batch.views[0].len() > 1) {
        let [anchors, positives, ..] = batch.tensors();
        let empty = anchors.narrow(0, 0, 0).unwrap();
        let hard = HardNegatives { embeddings: &empty, owners: &[], weight: 0.5 };
        let negatives = Negatives { hard: Some(hard), queue: Some(&empty) };
        let got = info_nce_with(&anchors, &positives, &negatives, &batch.config, None).unwrap();
        let want = info_nce(&anchors, &positives, &batch.config, None).unwrap();
        let values = |output: InfoNce| output.per_example.to_vec1::<f64>().unwrap();
        assert_eq!(values(got), values(want));
    }
}
