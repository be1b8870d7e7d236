//! InfoNCE over the candidates of a batch (Gao et al. 2021, SimCSE, equation 1).

use candle_core::{D, DType, Tensor};

use crate::{Candidates, InfoNceConfig, LossError, Result, Similarity, l2_normalize};

/// Contrastive loss of a batch of `B` sentences, each embedded twice.
///
/// Anchor `i` has to find its positive among its candidates:
///
/// ```text
/// loss_i = -log( exp(sim(h_i, h_i⁺) / τ) / Σ_c exp(sim(h_i, h_c) / τ) )
/// ```
///
/// | `candidates` | candidates `c` of anchor `i` |
/// |---|---|
/// | [`Candidates::OtherView`] | the `B` embeddings of the other view (equation 1, the official code) |
/// | [`Candidates::BothViews`] | all `2B - 1` embeddings of both views but `h_i` itself |
///
/// `anchors` and `positives` are `[B, D]`, of one dtype and device; row `i` of both is one sentence. With
/// `symmetric = false` only the rows of `anchors` are anchors and the loss is `[B]`; with `symmetric = true`
/// those of `positives` are anchors as well and the loss is `[2B]`, view after view, so that its mean is the
/// mean of both directions.
///
/// `same_sentence_groups` `[B]` marks equal sentences with equal numbers (`None`: all differ). A candidate
/// of the anchor's group other than its positive is no negative: it is taken out before the softmax. Its
/// logit is set to -∞ after the division by the temperature; a large finite penalty added before the
/// division overflows in half precision, and is a known mistake.
///
/// Logits and loss are float32 (float64 for float64 embeddings), whatever the embeddings are. Fails when
/// shapes, dtypes or the number of groups do not fit, when `B < 2`, and on a temperature out of range.
pub fn info_nce(
    anchors: &Tensor,
    positives: &Tensor,
    config: &InfoNceConfig,
    same_sentence_groups: Option<&[u32]>,
) -> Result<InfoNce> {
    config.validate()?;
    let batch_size = batch_size(anchors, positives, same_sentence_groups)?;
    let layout = Layout { candidates: config.candidates, symmetric: config.symmetric, batch_size };
    let anchors = config.similarity.prepare(&in_full_precision(anchors)?)?;
    let positives = config.similarity.prepare(&in_full_precision(positives)?)?;

    let similarities = layout.compare(&anchors, &positives)?; // [R, C]
    let cosines = match config.similarity {
        Similarity::Cosine => similarities.detach(),
        Similarity::Dot => {
            layout.compare(&l2_normalize(&anchors.detach())?, &l2_normalize(&positives.detach())?)?
        }
    };
    let targets = layout.targets();
    let excluded = layout.excluded(&targets, same_sentence_groups);
    let logits = without(&(&similarities / config.temperature)?, &excluded)?;
    Ok(InfoNce {
        per_example: cross_entropy(&logits, &targets)?,
        similarities: similarities.detach(),
        cosines,
        targets,
        excluded,
    })
}

/// The loss of a batch, and what it saw.
#[derive(Debug, Clone)]
pub struct InfoNce {
    /// Loss of each anchor, `[B]`, or `[2B]` if symmetric; can be differentiated.
    pub per_example: Tensor,
    /// `[R, C]`, detached, not yet divided by the temperature.
    similarities: Tensor,
    /// `[R, C]`, detached; the same tensor if the similarity is the cosine.
    cosines: Tensor,
    /// Column of each anchor's positive, `[R]`.
    targets: Vec<u32>,
    /// Whether a candidate was taken out, `[R, C]`.
    excluded: Vec<u8>,
}

/// What a contrastive loss saw in a batch: no gradient, no temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContrastiveDiagnostics {
    /// Mean cosine of an anchor and its positive. Exactly 1: dropout is off.
    pub positive_cosine: f64,
    /// Mean cosine of an anchor and a negative; `None` if every candidate is the anchor's own sentence.
    pub negative_cosine: Option<f64>,
    /// Share of anchors whose positive is strictly more similar than every negative.
    pub accuracy: f64,
    /// The loss of a guess: mean over the anchors of ln(number of candidates).
    pub chance_loss: f64,
}

impl InfoNce {
    /// Mean loss, a scalar that can be differentiated.
    pub fn mean(&self) -> Result<Tensor> {
        Ok(self.per_example.mean_all()?)
    }

    /// What the loss saw. Copies the similarities from the device; call it when it is looked at.
    pub fn diagnostics(&self) -> Result<ContrastiveDiagnostics> {
        let similarities = self.similarities.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let cosines = self.cosines.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let anchors = self.targets.len() as f64;
        let (mut positive_sum, mut negative_sum, mut negatives) = (0.0, 0.0, 0_usize);
        let (mut found, mut chance_sum) = (0_usize, 0.0);
        for (row, &target) in self.targets.iter().enumerate() {
            let target = target as usize;
            let columns = similarities[row].len();
            let excluded = &self.excluded[row * columns..(row + 1) * columns];
            let row_negatives: Vec<usize> =
                (0..columns).filter(|&column| column != target && excluded[column] == 0).collect();
            positive_sum += cosines[row][target];
            negative_sum += row_negatives.iter().map(|&column| cosines[row][column]).sum::<f64>();
            negatives += row_negatives.len();
            let is_found = |&column: &usize| similarities[row][target] > similarities[row][column];
            found += usize::from(row_negatives.iter().all(is_found));
            chance_sum += (row_negatives.len() as f64 + 1.0).ln();
        }
        Ok(ContrastiveDiagnostics {
            positive_cosine: positive_sum / anchors,
            negative_cosine: (negatives > 0).then(|| negative_sum / negatives as f64),
            accuracy: found as f64 / anchors,
            chance_loss: chance_sum / anchors,
        })
    }
}

/// Which embedding stands in which row (anchor) and column (candidate) of the similarities `[R, C]`.
/// Rows, and the columns of both views, are numbered view after view: `i` and `B + i` are one sentence.
struct Layout {
    candidates: Candidates,
    symmetric: bool,
    batch_size: usize,
}

impl Layout {
    fn rows(&self) -> usize {
        if self.symmetric { 2 * self.batch_size } else { self.batch_size }
    }

    fn columns(&self) -> usize {
        match self.candidates {
            Candidates::OtherView => self.batch_size,
            Candidates::BothViews => 2 * self.batch_size,
        }
    }

    /// Dot products of anchors and candidates, `[R, C]`.
    fn compare(&self, anchors: &Tensor, positives: &Tensor) -> candle_core::Result<Tensor> {
        match self.candidates {
            Candidates::OtherView => {
                let forward = anchors.matmul(&positives.t()?)?; // [B, B]
                if self.symmetric { Tensor::cat(&[&forward, &forward.t()?], 0) } else { Ok(forward) }
            }
            Candidates::BothViews => {
                let all = Tensor::cat(&[anchors, positives], 0)?; // [2B, D]
                let rows = if self.symmetric { &all } else { anchors };
                rows.matmul(&all.t()?)
            }
        }
    }

    /// Column of each row's positive.
    fn targets(&self) -> Vec<u32> {
        let columns = self.columns();
        let to_positive = columns - self.batch_size; // the other view's half, where there are two
        (0..self.rows()).map(|row| ((row + to_positive) % columns) as u32).collect()
    }

    /// Marks the candidates of the anchor's own sentence, but for its positive. The anchor itself is one of
    /// them where both views are candidates.
    fn excluded(&self, targets: &[u32], groups: Option<&[u32]>) -> Vec<u8> {
        let columns = self.columns();
        let sentences = |count: usize| -> Vec<u32> {
            let of = |position: usize| groups.map_or(position as u32, |groups| groups[position]);
            (0..count).map(|index| of(index % self.batch_size)).collect()
        };
        let candidates = sentences(columns);
        let mut excluded = Vec::with_capacity(targets.len() * columns);
        for (anchor, &target) in sentences(targets.len()).into_iter().zip(targets) {
            let start = excluded.len();
            excluded.extend(candidates.iter().map(|&candidate| u8::from(candidate == anchor)));
            excluded[start + target as usize] = 0;
        }
        excluded
    }
}

/// Number of sentences, after all shapes were checked.
fn batch_size(anchors: &Tensor, positives: &Tensor, groups: Option<&[u32]>) -> Result<usize> {
    if anchors.rank() != 2 || anchors.dims() != positives.dims() {
        return Err(LossError::Embeddings(format!(
            "info_nce: anchors {:?} and positives {:?} are not two equal [B, D]; fix: embed every sentence of \
             the batch once for each view",
            anchors.dims(),
            positives.dims()
        )));
    }
    let batch_size = anchors.dims()[0];
    if batch_size < 2 {
        return Err(LossError::Embeddings(format!(
            "info_nce: a batch of {batch_size} has no negatives; fix: take at least 2 sentences a batch"
        )));
    }
    match groups {
        Some(groups) if groups.len() != batch_size => Err(LossError::Embeddings(format!(
            "info_nce: {} groups for a batch of {batch_size}; fix: give one group for each sentence",
            groups.len()
        ))),
        _ => Ok(batch_size),
    }
}

/// Half precision carries neither logits of ±1/τ nor sums over a batch.
fn in_full_precision(embeddings: &Tensor) -> candle_core::Result<Tensor> {
    match embeddings.dtype() {
        DType::F64 => Ok(embeddings.clone()),
        _ => embeddings.to_dtype(DType::F32),
    }
}

/// The logits with -∞ where `excluded` says so. `where_cond` passes no gradient to what it replaces, so no
/// product of zero and infinity can arise in the backward pass.
fn without(logits: &Tensor, excluded: &[u8]) -> candle_core::Result<Tensor> {
    if excluded.iter().all(|&is_excluded| is_excluded == 0) {
        return Ok(logits.clone());
    }
    let excluded = Tensor::from_slice(excluded, logits.shape(), logits.device())?;
    let infinity = Tensor::full(f32::NEG_INFINITY, logits.shape(), logits.device())?;
    excluded.where_cond(&infinity.to_dtype(logits.dtype())?, logits)
}

/// -log softmax at the target: `[R, C]` → `[R]`. The shift by the maximum changes no value, so it is
/// detached: a tied maximum would otherwise get its (cancelling) gradient several times.
fn cross_entropy(logits: &Tensor, targets: &[u32]) -> candle_core::Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
    let log_sums = shifted.exp()?.sum(D::Minus1)?.log()?;
    log_sums - shifted.gather(&targets, D::Minus1)?.squeeze(D::Minus1)?
}
