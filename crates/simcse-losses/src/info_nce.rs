//! InfoNCE over the candidates of a batch (Gao et al. 2021, SimCSE, equations 1 and 5).

use candle_core::{D, DType, Tensor};

use crate::layout::Layout;
use crate::{InfoNceConfig, LossError, Negatives, Result, RowGroups, Similarity, l2_normalize};

/// Contrastive loss of a batch of `B` sentences, each embedded twice: [`info_nce_with`] without further
/// negatives.
///
/// `same_sentence_groups` `[B]` marks equal sentences with equal numbers (`None`: all differ).
pub fn info_nce(
    anchors: &Tensor,
    positives: &Tensor,
    config: &InfoNceConfig,
    same_sentence_groups: Option<&[u32]>,
) -> Result<InfoNce> {
    let groups =
        same_sentence_groups.map(|groups| RowGroups { anchors: groups, positives: groups, hard: &[] });
    info_nce_with(anchors, positives, &Negatives::default(), config, groups.as_ref())
}

/// Contrastive loss of a batch of `B` pairs, some or all of them with a hard negative.
///
/// Anchor `i` has to find its positive among its candidates:
///
/// ```text
/// loss_i = -log( exp(sim(h_i, h_i⁺) / τ) / Σ_c w_ic exp(sim(h_i, h_c) / τ) )
/// ```
///
/// | `candidates` | candidates `c` of anchor `i`, of the batch's pairs |
/// |---|---|
/// | [`OtherView`](crate::Candidates::OtherView) | the `B` embeddings of the other view (equation 1, the official code) |
/// | [`BothViews`](crate::Candidates::BothViews) | all `2B - 1` embeddings of both views but `h_i` itself |
///
/// `negatives` adds candidates for every anchor: all hard negatives of the batch, whosever they are
/// (equation 5), and the queue, which passes no gradient on. `w_ic` is 1, but for the anchor's own hard
/// negative it is [`HardNegatives::weight`](crate::HardNegatives) (appendix of the paper): its logarithm is
/// added to that one logit, after the division by the temperature. The paper's supervised loss is
/// `OtherView` with `symmetric = false`: only premises are anchors.
///
/// `anchors` and `positives` are `[B, D]`, of one dtype and device; row `i` of both is one pair. With
/// `symmetric = false` only the rows of `anchors` are anchors and the loss is `[B]`; with `symmetric = true`
/// those of `positives` are anchors as well and the loss is `[2B]`, view after view: that of the batch and
/// that of the batch with both views exchanged, so that its mean is the mean of both directions. A hard
/// negative belongs to the pair, so it is a candidate in both directions, with the same weight.
///
/// `groups` marks equal texts (`None`: all differ). A candidate with the text of the anchor or of its
/// positive is no negative: it is taken out before the softmax. Its logit is set to -∞ after the division by
/// the temperature; a large finite penalty added before the division overflows in half precision, and is a
/// known mistake. The queue has no groups.
///
/// Logits and loss are float32 (float64 for float64 embeddings), whatever the embeddings are. Fails when
/// shapes, dtypes, owners or the number of groups do not fit, when there is no negative, and on a
/// temperature or a weight out of range or other than the configuration's.
pub fn info_nce_with(
    anchors: &Tensor,
    positives: &Tensor,
    negatives: &Negatives<'_>,
    config: &InfoNceConfig,
    groups: Option<&RowGroups<'_>>,
) -> Result<InfoNce> {
    config.validate()?;
    let batch_size = batch_size(anchors, positives, negatives, config, groups)?;
    let layout = Layout::new(config, batch_size, negatives);
    let prepare = |embeddings: &Tensor| config.similarity.prepare(&in_full_precision(embeddings)?);
    let (anchors, positives) = (prepare(anchors)?, prepare(positives)?);
    let beside = negatives.joined(prepare)?; // [M + Q, D]

    let similarities = layout.compare(&anchors, &positives, beside.as_ref())?; // [R, C]
    let cosines = match config.similarity {
        Similarity::Cosine => similarities.detach(),
        Similarity::Dot => {
            let unit = |embeddings: &Tensor| l2_normalize(&embeddings.detach());
            let beside = beside.as_ref().map(unit).transpose()?;
            layout.compare(&unit(&anchors)?, &unit(&positives)?, beside.as_ref())?
        }
    };
    let targets = layout.targets();
    let excluded = layout.excluded(&targets, groups);
    let logits = weighted(&(&similarities / config.temperature)?, layout.log_weights())?;
    let logits = without(&logits, &excluded)?;
    Ok(InfoNce {
        per_example: cross_entropy(&logits, &targets)?,
        similarities: similarities.detach(),
        cosines,
        targets,
        excluded,
        layout,
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
    layout: Layout,
}

/// What a contrastive loss saw in a batch: no gradient, no temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContrastiveDiagnostics {
    /// Mean cosine of an anchor and its positive. Exactly 1: dropout is off.
    pub positive_cosine: f64,
    /// Mean cosine of an anchor and a negative, hard negatives and queue among them; `None` if every
    /// candidate is the anchor's own sentence.
    pub negative_cosine: Option<f64>,
    /// Share of anchors whose positive is strictly more similar than every negative.
    pub accuracy: f64,
    /// The loss of a guess: mean over the anchors of ln(number of candidates), where the own hard negative
    /// counts with its weight. An encoder that maps all to one point has this loss.
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
            let weights = row_negatives.iter().map(|&column| self.layout.weight(row, column));
            chance_sum += (weights.sum::<f64>() + 1.0).ln();
        }
        Ok(ContrastiveDiagnostics {
            positive_cosine: positive_sum / anchors,
            negative_cosine: (negatives > 0).then(|| negative_sum / negatives as f64),
            accuracy: found as f64 / anchors,
            chance_loss: chance_sum / anchors,
        })
    }
}

/// Number of pairs, after everything was checked.
fn batch_size(
    anchors: &Tensor,
    positives: &Tensor,
    negatives: &Negatives<'_>,
    config: &InfoNceConfig,
    groups: Option<&RowGroups<'_>>,
) -> Result<usize> {
    if anchors.rank() != 2 || anchors.dims() != positives.dims() {
        return Err(LossError::Embeddings(format!(
            "info_nce: anchors {:?} and positives {:?} are not two equal [B, D]; fix: embed every sentence of \
             the batch once for each view",
            anchors.dims(),
            positives.dims()
        )));
    }
    let (batch_size, size) = anchors.dims2()?;
    negatives.validate(batch_size, size)?;
    let hard = negatives.some_hard();
    let is_alone = hard.is_none() && negatives.some_queue().is_none();
    if batch_size == 0 || (batch_size == 1 && is_alone) {
        return Err(LossError::Embeddings(format!(
            "info_nce: a batch of {batch_size} has no negatives; fix: take at least 2 sentences a batch"
        )));
    }
    if let (Some(hard), Some(configured)) = (hard, config.hard_negative_weight)
        && hard.weight != configured
    {
        return Err(LossError::Embeddings(format!(
            "info_nce: hard negatives of weight {} where the configuration says {configured}; fix: pass the \
             configuration's",
            hard.weight
        )));
    }
    if let Some(groups) = groups {
        groups.validate(batch_size, hard.map_or(0, |hard| hard.owners.len()))?;
    }
    Ok(batch_size)
}

/// Half precision carries neither logits of ±1/τ nor sums over a batch.
pub(crate) fn in_full_precision(embeddings: &Tensor) -> candle_core::Result<Tensor> {
    match embeddings.dtype() {
        DType::F64 => Ok(embeddings.clone()),
        _ => embeddings.to_dtype(DType::F32),
    }
}

/// The logits with the logarithms of the candidates' weights added.
fn weighted(logits: &Tensor, log_weights: Option<Vec<f64>>) -> candle_core::Result<Tensor> {
    let Some(log_weights) = log_weights else { return Ok(logits.clone()) };
    logits + Tensor::from_vec(log_weights, logits.shape(), logits.device())?.to_dtype(logits.dtype())?
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
pub(crate) fn cross_entropy(logits: &Tensor, targets: &[u32]) -> candle_core::Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
    let log_sums = shifted.exp()?.sum(D::Minus1)?.log()?;
    log_sums - shifted.gather(&targets, D::Minus1)?.squeeze(D::Minus1)?
}
