//! InfoNCE over the candidates of a batch (Gao et al. 2021, SimCSE, equations 1 and 5).

use candle_core::{D, DType, Tensor};

use crate::contrast::{Contrast, OwnedGroups};
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
/// With a margin m, sim(h_i, h_i⁺) - m stands for sim(h_i, h_i⁺) in both places.
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
/// Of a large batch the similarities are never held at once: anchors are compared some at a time, in the backward pass
/// again, so memory grows with `B`. Logits and loss are float32 (float64 for float64 embeddings), whatever the
/// embeddings are. Fails when shapes, dtypes, owners or the number of groups do not fit, when there is no negative,
/// and on a temperature or a weight out of range or other than the configuration's.
pub fn info_nce_with(
    anchors: &Tensor,
    positives: &Tensor,
    negatives: &Negatives<'_>,
    config: &InfoNceConfig,
    groups: Option<&RowGroups<'_>>,
) -> Result<InfoNce> {
    config.validate()?;
    let batch_size = batch_size(anchors, positives, negatives, config, groups)?;
    let prepare = |embeddings: &Tensor| config.similarity.prepare(&in_full_precision(embeddings)?);
    let parts = [Some(prepare(anchors)?), Some(prepare(positives)?), negatives.joined(prepare)?];
    let all = Tensor::cat(&parts.into_iter().flatten().collect::<Vec<_>>(), 0)?; // [2B + M + Q, D]
    let contrast = Contrast {
        layout: Layout::new(config, batch_size, negatives),
        temperature: config.temperature,
        groups: groups.map(OwnedGroups::of),
    };
    Ok(InfoNce {
        per_example: contrast.losses(&all)?,
        all: all.detach(),
        similarity: config.similarity,
        contrast,
    })
}

/// The loss of a batch, and what it saw.
#[derive(Debug, Clone)]
pub struct InfoNce {
    /// Loss of each anchor, `[B]`, or `[2B]` if symmetric; can be differentiated.
    pub per_example: Tensor,
    /// What was compared, `[2B + M + Q, D]`, detached.
    all: Tensor,
    similarity: Similarity,
    contrast: Contrast,
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
    /// Mean loss, a scalar that can be differentiated. Fails only where candle does.
    pub fn mean(&self) -> Result<Tensor> {
        Ok(self.per_example.mean_all()?)
    }

    /// What the loss saw. Compares once more; call it when it is looked at. Fails only where candle does.
    pub fn diagnostics(&self) -> Result<ContrastiveDiagnostics> {
        let Contrast { layout, groups, .. } = &self.contrast;
        let groups = groups.as_ref().map(OwnedGroups::rows);
        // The similarity is the cosine already, or has to be compared once more.
        let unit = match self.similarity {
            Similarity::Cosine => None,
            Similarity::Dot => Some(l2_normalize(&self.all)?),
        };
        let mut seen = Sums::default();
        for rows in self.contrast.blocks() {
            let compare =
                |all: &Tensor| layout.compare(all, rows.clone())?.to_dtype(DType::F64)?.to_vec2::<f64>();
            let similarities = compare(&self.all)?;
            let cosines = unit.as_ref().map(compare).transpose()?;
            let cosines = cosines.as_ref().unwrap_or(&similarities);
            let excluded = layout.excluded(rows.clone(), groups.as_ref());
            let excluded = excluded.chunks_exact(layout.columns());
            let anchors = rows.clone().zip(layout.targets(rows)).zip(excluded);
            for (((row, target), excluded), (similarities, cosines)) in
                anchors.zip(similarities.iter().zip(cosines))
            {
                seen.add(layout, (row, target as usize), excluded, similarities, cosines);
            }
        }
        Ok(seen.means(layout.rows() as f64))
    }
}

/// Sums over anchors.
#[derive(Debug, Default)]
struct Sums {
    positive: f64,
    negative: f64,
    negatives: usize,
    found: usize,
    chance: f64,
}

impl Sums {
    /// Takes in the anchor of a row and its positive's column.
    fn add(
        &mut self,
        layout: &Layout,
        (row, target): (usize, usize),
        excluded: &[u8],
        similarities: &[f64],
        cosines: &[f64],
    ) {
        let is_negative = |column: &usize| *column != target && excluded[*column] == 0;
        let negatives: Vec<usize> = (0..similarities.len()).filter(is_negative).collect();
        self.positive += cosines[target];
        self.negative += negatives.iter().map(|&column| cosines[column]).sum::<f64>();
        self.negatives += negatives.len();
        let is_found = |&column: &usize| similarities[target] > similarities[column];
        self.found += usize::from(negatives.iter().all(is_found));
        self.chance += layout.guess(negatives.iter().map(|&column| layout.weight(row, column)).sum());
    }

    fn means(&self, anchors: f64) -> ContrastiveDiagnostics {
        ContrastiveDiagnostics {
            positive_cosine: self.positive / anchors,
            negative_cosine: (self.negatives > 0).then(|| self.negative / self.negatives as f64),
            accuracy: self.found as f64 / anchors,
            chance_loss: self.chance / anchors,
        }
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

/// -log softmax at the target: `[R, C]` → `[R]`. The shift by the maximum changes no value, so it is
/// detached: a tied maximum would otherwise get its (cancelling) gradient several times.
pub(crate) fn cross_entropy(logits: &Tensor, targets: &[u32]) -> candle_core::Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
    let log_sums = shifted.exp()?.sum(D::Minus1)?.log()?;
    log_sums - shifted.gather(&targets, D::Minus1)?.squeeze(D::Minus1)?
}
