//! Which margin softmax over sentence classes, with which constants.

use serde::{Deserialize, Serialize};
use simcse_ops::linear::Precision;
use simcse_ops::margin_softmax::{Margin, MarginSoftmax};

use crate::{LossError, Result};

/// Constants of the loss over classes: `kind = "margin_softmax"`.
///
/// Every sentence (with its near-duplicates) is a class, with centres that are learned beside the encoder:
/// AM-Softmax (Wang et al. 2018), CosFace, ArcFace (Deng et al. 2019) or plain normalised softmax.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarginSoftmaxConfig {
    /// Dropout views of each sentence in a batch, K.
    pub views: usize,
    /// Where the margin acts.
    pub margin_kind: MarginKind,
    /// The margin: of cosines (AM-Softmax: 0.35) or in radians (ArcFace: 0.5); 0 for `none`.
    pub margin: f64,
    /// Multiplies cosines, s. AM-Softmax: 30; CosFace and ArcFace: 64.
    pub scale: f64,
    /// Centres of each class, of which the nearest counts. Sub-center ArcFace: 3.
    pub sub_centres: usize,
    /// Share of the classes that a step looks at, the own ones always (Partial FC, An et al. 2022). 1: all.
    pub sampled_share: f64,
    /// How the centres are updated.
    pub class_update: ClassUpdate,
    /// For `moving_average`: the share of a centre that stays when its sentence is met, from 0 to below 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_momentum: Option<f64>,
    /// What the centres begin with.
    pub initial_centres: InitialCentres,
    /// Times the learning rate of the encoder is that of the centres.
    pub class_learning_rate_factor: f64,
    /// What the products with the class centres are computed in: `f32` or `bf16`.
    #[serde(default)]
    pub precision: Precision,
    /// Sentences whose character bigrams have this Jaccard index are one class; left out: only those of equal text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_duplicates: Option<f64>,
}

/// Where the margin acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarginKind {
    /// Nowhere.
    None,
    /// cos θ - m.
    Cosine,
    /// cos(θ + m).
    Angle,
}

/// How centres follow their classes, and what becomes of those that a step did not look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassUpdate {
    /// As AdamW does: their gradient is 0, their moments decay and move them.
    Dense,
    /// Not at all: they cost nothing (`torch.optim.SparseAdam`).
    Lazy,
    /// There is no gradient of centres: each is a moving average of the embeddings of its sentence, a memory bank (Wu et
    /// al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", section 3.1).
    MovingAverage,
}

/// What class centres begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitialCentres {
    /// Random directions.
    Random,
    /// The untrained encoder's embeddings of the sentences, dropout off.
    Embeddings,
    /// The same at unit length, less their mean, at unit length again: as many directions, without the one that all share. The
    /// same learning rate turns them further: untrained embeddings of a TextCNN are some twenty long.
    CentredEmbeddings,
}

impl MarginSoftmaxConfig {
    /// Fails on a value out of range; the message names the key.
    pub fn validate(&self) -> Result<()> {
        let check = |holds: bool, key, value: f64, problem, fix| match holds {
            true => Ok(()),
            false => Err(LossError::Config { key, value: value.to_string(), problem, fix }),
        };
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let fix = "take a number in the range of the papers, such as 30";
        check((0.01..=1e4).contains(&self.scale), "scale", self.scale, "not between 0.01 and 10000", fix)?;
        let (most, fix) = match self.margin_kind {
            MarginKind::None => (0.0, "set it to 0, or margin_kind to \"cosine\" or \"angle\""),
            MarginKind::Cosine => (2.0, "take a number from 0 to 2, such as 0.35"),
            MarginKind::Angle => (std::f64::consts::PI, "take a number from 0 to π, such as 0.5"),
        };
        check((0.0..=most).contains(&self.margin), "margin", self.margin, "out of range", fix)?;
        let (views, centres) = (self.views, self.sub_centres);
        check((1..=64).contains(&views), "views", views as f64, "not from 1 to 64", "take 2")?;
        check((1..=64).contains(&centres), "sub_centres", centres as f64, "not from 1 to 64", "take 1")?;
        let parted = self.initial_centres == InitialCentres::Random || centres == 1;
        let problem = "equal centres of one class would never part";
        let fix = "take 1, or initial_centres = \"random\"";
        check(parted, "sub_centres", centres as f64, problem, fix)?;
        let fix = "take 1 for all classes, or a share such as 0.2";
        check(share(self.sampled_share), "sampled_share", self.sampled_share, "not in (0, 1]", fix)?;
        let factor = self.class_learning_rate_factor;
        let positive = factor > 0.0 && factor.is_finite();
        check(positive, "class_learning_rate_factor", factor, "not a number above 0", "take 1")?;
        let averages = self.class_update == ClassUpdate::MovingAverage;
        let momentum = self.class_momentum.unwrap_or(if averages { -1.0 } else { 0.0 });
        let fix = "take 0.5 for class_update = \"moving_average\", and leave it out for others";
        let fits = averages == self.class_momentum.is_some();
        check(fits && (0.0..1.0).contains(&momentum), "class_momentum", momentum, "missing or in vain", fix)?;
        let fix = "take 1, or let AdamW move the centres";
        check(!averages || centres == 1, "sub_centres", centres as f64, "an average has one centre", fix)?;
        let near = self.near_duplicates.unwrap_or(1.0);
        check(share(near), "near_duplicates", near, "not in (0, 1]", "take 0.8, or leave it out")
    }

    /// The kernel's constants.
    pub fn kernel(&self) -> MarginSoftmax {
        let margin = match self.margin_kind {
            MarginKind::None => Margin::None,
            MarginKind::Cosine => Margin::Cosine(self.margin as f32),
            MarginKind::Angle => Margin::Angle(self.margin as f32),
        };
        MarginSoftmax {
            scale: self.scale as f32,
            margin,
            sub_centres: self.sub_centres,
            precision: self.precision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MarginSoftmaxConfig {
        MarginSoftmaxConfig {
            views: 2,
            margin_kind: MarginKind::Cosine,
            margin: 0.35,
            scale: 30.0,
            sub_centres: 1,
            sampled_share: 1.0,
            class_update: ClassUpdate::Lazy,
            class_momentum: None,
            initial_centres: InitialCentres::Random,
            class_learning_rate_factor: 1.0,
            precision: Precision::Float32,
            near_duplicates: None,
        }
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        config().validate().unwrap();
        let wrong = [
            ("scale", MarginSoftmaxConfig { scale: f64::NAN, ..config() }),
            ("margin", MarginSoftmaxConfig { margin: -0.1, ..config() }),
            ("margin", MarginSoftmaxConfig { margin_kind: MarginKind::None, ..config() }),
            ("views", MarginSoftmaxConfig { views: 0, ..config() }),
            ("class_momentum", MarginSoftmaxConfig { class_momentum: Some(0.5), ..config() }),
            ("class_momentum", MarginSoftmaxConfig { class_update: ClassUpdate::MovingAverage, ..config() }),
            ("sub_centres", MarginSoftmaxConfig { sub_centres: 0, ..config() }),
            ("sub_centres", {
                let initial_centres = InitialCentres::Embeddings;
                MarginSoftmaxConfig { sub_centres: 3, initial_centres, ..config() }
            }),
            ("sub_centres", {
                let initial_centres = InitialCentres::CentredEmbeddings;
                MarginSoftmaxConfig { sub_centres: 3, initial_centres, ..config() }
            }),
            ("sampled_share", MarginSoftmaxConfig { sampled_share: 0.0, ..config() }),
            (
                "class_learning_rate_factor",
                MarginSoftmaxConfig { class_learning_rate_factor: 0.0, ..config() },
            ),
            ("near_duplicates", MarginSoftmaxConfig { near_duplicates: Some(1.5), ..config() }),
        ];
        for (key, config) in wrong {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("; fix: "), "{error}");
        }
    }

    /// ```python
    /// import torch, torch.nn.functional as F
    /// x = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]], requires_grad=True)
    /// w = torch.tensor([[1.0, 0.5, 0.25], [-0.5, 1.0, 1.0], [0.75, -1.0, 2.0], [0.1, 0.2, -0.3]], requires_grad=True)
    /// y = torch.tensor([2, 0])
    /// def loss(kind, m, s):
    ///     c = F.normalize(x) @ F.normalize(w).T
    ///     t = {"none": c, "cosine": c - m, "angle": torch.cos(torch.acos(c) + m)}[kind]
    ///     return F.cross_entropy(s * torch.where(F.one_hot(y, 4).bool(), t, c), y, reduction="none")
    /// for kind, m, s in (("none", 0, 10), ("cosine", .35, 30), ("angle", .5, 64)):
    ///     x.grad = w.grad = None; l = loss(kind, m, s); l.mean().backward()
    ///     print(l.tolist(), x.grad[1].tolist(), w.grad[0].tolist())
    /// ```
    #[test]
    fn losses_and_gradients_equal_pytorch() {
        use candle_core::{Device, Tensor, Var};
        let x = Var::new(&[[0.5_f32, -1.0, 2.0], [1.5, 0.25, -0.5]], &Device::Cpu).unwrap();
        let w = [[1.0_f32, 0.5, 0.25], [-0.5, 1.0, 1.0], [0.75, -1.0, 2.0], [0.1, 0.2, -0.3]];
        let w = Var::new(&w, &Device::Cpu).unwrap();
        for (kind, margin, scale, want, of_x, of_w) in GOLDEN {
            let config = MarginSoftmaxConfig { margin_kind: kind, margin, scale, ..config() };
            let kernel = config.kernel();
            let (losses, _) = simcse_ops::margin_softmax::margin_softmax(&x, &w, &[2, 0], kernel).unwrap();
            let gradients = losses.mean_all().unwrap().backward().unwrap();
            let row = |of: &Var, row: usize| -> Vec<f32> {
                gradients.get(of).unwrap().get(row).unwrap().to_vec1().unwrap()
            };
            let near = |got: &[f32], want: &[f32], what: &str| {
                let close = got.iter().zip(want).all(|(a, b)| (a - b).abs() < 2e-5 * b.abs().max(1.0));
                assert!(close, "{kind:?} {what}: {got:?}, PyTorch has {want:?}");
            };
            let losses: &Tensor = &losses;
            near(&losses.to_vec1::<f32>().unwrap(), &want, "losses");
            near(&row(&x, 1), &of_x, "gradient of x");
            near(&row(&w, 0), &of_w, "gradient of w");
        }
    }

    type Golden = (MarginKind, f64, f64, [f32; 2], [f32; 3], [f32; 3]);
    const GOLDEN: [Golden; 3] = [
        (
            MarginKind::None,
            0.0,
            10.0,
            [0.0007462101, 0.0925331],
            [-0.1063984, 0.03665631, -0.300867],
            [-0.08598471, 0.07672268, 0.1904934],
        ),
        (
            MarginKind::Cosine,
            0.35,
            30.0,
            [3.933899e-06, 3.522886],
            [-3.517018, 1.223707, -9.939198],
            [-2.83492, 2.55142, 6.236838],
        ),
        (
            MarginKind::Angle,
            0.5,
            64.0,
            [-0.0, 9.112988],
            [-8.919994, -0.7604492, -27.1402],
            [-9.715183, 8.743659, 21.37339],
        ),
    ];
}
