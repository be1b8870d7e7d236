//! Sentences as classes whose centres are made of the batch: a softmax over the mean of each sentence's views, as speakers
//! are learned (Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification", equations 4 to 6, 8 and 9).

use candle_core::{D, DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::config::TEMPERATURES;
use crate::info_nce::{cross_entropy, in_full_precision};
use crate::{ContrastiveDiagnostics, LossError, Result, l2_normalize};

/// Constants of [`batch_centres`]: `kind = "batch_centres"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchCentresConfig {
    /// Dropout views of each sentence in a batch, K, 2 or more.
    pub views: usize,
    /// Multiplies cosines, s: an inverse temperature.
    pub scale: f64,
    /// Taken off the cosine of a view and its own sentence's centre (AM-Softmax, Wang et al. 2018, equation 6).
    pub margin: f64,
    /// Centres pass no gradient on, as the centres of a table do not; left out: they do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detached_centres: bool,
    /// Every centre leaves out the view of the batch that is compared with it, not the own one alone, so that all are means of
    /// as many views: with two views this is symmetric [`info_nce`](crate::info_nce()) over N candidates. Left out: the own
    /// one alone, as in the paper.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub equal_centres: bool,
}

impl BatchCentresConfig {
    /// Fails on a value out of range; the message names the key.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: String, problem, fix| Err(LossError::Config { key, value, problem, fix });
        if !(2..=64).contains(&self.views) {
            return wrong("views", self.views.to_string(), "not from 2 to 64", "take 2 or 4");
        }
        if !TEMPERATURES.contains(&self.scale) {
            return wrong("scale", self.scale.to_string(), "not between 0.0001 and 10000", "take 20");
        }
        match (0.0..=2.0).contains(&self.margin) {
            true => Ok(()),
            false => wrong("margin", self.margin.to_string(), "not from 0 to 2", "take 0, or 0.1"),
        }
    }
}

/// The loss of one batch, and what it saw.
#[derive(Debug, Clone)]
pub struct BatchCentres {
    /// Loss of each view, `[K · B]`; can be differentiated.
    pub per_view: Tensor,
    /// Cosine of each view with each centre, `[K · B, B]`, detached, without scale and margin.
    cosines: Tensor,
    margin: f64,
    scale: f64,
}

/// Every view has to find the centre of its own sentence among those of all sentences of the batch:
///
/// ```text
/// loss_ki = -log( exp(s (cos(h_ki, c_i⁻ᵏ) - m)) / (exp(s (cos(h_ki, c_i⁻ᵏ) - m)) + Σ_{j ≠ i} exp(s cos(h_ki, c_j))) )
/// ```
///
/// A centre is the mean of a sentence's unit-length views; the own one leaves the view itself out (equation 8 of the
/// paper), or a view would find itself. Both have gradients. With two views and no margin the own logit is that of
/// [`info_nce`](crate::info_nce()), and the others are compared with the mean of two views instead of one.
///
/// So the own centre has more dropout noise in it than the others, which makes it the farther one where there is much of
/// that. With `equal_centres` view `k` meets `c_j⁻ᵏ` of every sentence `j`.
///
/// `embeddings` `[K · B, D]`, view after view. Fails when rows are no whole number of views, on a batch of one sentence,
/// and on a value out of range.
pub fn batch_centres(embeddings: &Tensor, config: &BatchCentresConfig) -> Result<BatchCentres> {
    config.validate()?;
    let (rows, size) = embeddings.dims2()?;
    let (views, sentences) = (config.views, rows / config.views);
    if rows % views != 0 || sentences < 2 {
        return Err(LossError::Embeddings(format!(
            "batch_centres: {rows} rows are not {views} views of 2 sentences or more; fix: embed every sentence once \
             for each view, and take larger batches"
        )));
    }
    let by_view = l2_normalize(&in_full_precision(embeddings)?)?.reshape((views, sentences, size))?;
    // 1 where a view meets the centre of its sentence, [K · B, B].
    let own_places = Tensor::eye(sentences, DType::U8, by_view.device())?.repeat((views, 1))?;
    let cosines = cosines(&by_view, &own_places, config)?;
    let margins = (own_places.to_dtype(cosines.dtype())? * (config.margin * config.scale))?;
    let logits = ((&cosines * config.scale)? - margins)?;
    let targets: Vec<u32> = (0..sentences as u32).collect::<Vec<_>>().repeat(views);
    Ok(BatchCentres {
        per_view: cross_entropy(&logits, &targets)?,
        cosines: cosines.detach(),
        margin: config.margin,
        scale: config.scale,
    })
}

/// Of unit-length views `[K, B, D]` with the centres of all sentences, the view itself left out of its own one, or of all:
/// `[K · B, B]`.
fn cosines(by_view: &Tensor, own_places: &Tensor, config: &BatchCentresConfig) -> Result<Tensor> {
    let (views, sentences, size) = by_view.dims3()?;
    let of_centres = if config.detached_centres { by_view.detach() } else { by_view.clone() };
    let sums = of_centres.sum_keepdim(0)?; // [1, B, D]
    let without_itself = l2_normalize(&sums.broadcast_sub(&of_centres)?)?; // [K, B, D]
    if config.equal_centres {
        return Ok(by_view
            .matmul(&without_itself.transpose(1, 2)?)?
            .reshape((views * sentences, sentences))?);
    }
    let centres = l2_normalize(&sums.squeeze(0)?)?;
    let own = (by_view * without_itself)?.sum(D::Minus1)?.reshape((views * sentences, 1))?;
    let all = by_view.reshape((views * sentences, size))?.matmul(&centres.t()?)?;
    let own = own.broadcast_as(all.shape())?.contiguous()?;
    Ok(own_places.where_cond(&own, &all)?)
}

impl BatchCentres {
    /// Mean cosine of views and their own centres, the same with the others, the share of views whose own centre is strictly
    /// the nearest, and the loss of an encoder that maps all to one point. Fails only where candle does.
    pub fn diagnostics(&self) -> Result<ContrastiveDiagnostics> {
        let (rows, sentences) = self.cosines.dims2()?;
        let (mut own_sum, mut other_sum, mut found) = (0.0, 0.0, 0);
        for (row, cosines) in self.cosines.to_dtype(DType::F64)?.to_vec2::<f64>()?.iter().enumerate() {
            let own = cosines[row % sentences];
            let others = cosines.iter().enumerate().filter(|(column, _)| *column != row % sentences);
            let (sum, nearest) = others.fold((0.0, f64::NEG_INFINITY), |(sum, nearest), (_, cosine)| {
                (sum + cosine, cosine.max(nearest))
            });
            own_sum += own;
            other_sum += sum;
            found += usize::from(own > nearest);
        }
        let (rows, others) = (rows as f64, (sentences - 1) as f64);
        let handicap = self.margin * self.scale;
        Ok(ContrastiveDiagnostics {
            positive_cosine: own_sum / rows,
            negative_cosine: Some(other_sum / (rows * others)),
            accuracy: found as f64 / rows,
            chance_loss: (others + (-handicap).exp()).ln() + handicap,
        })
    }
}
