//! CoSENT: cosines in the order of gold scores (Su Jianlin 2022, "CoSENT（一）：比Sentence-BERT更有效的句向量方案",
//! kexue.fm/archives/8847).

use candle_core::Tensor;

use crate::info_nce::in_full_precision;
use crate::{CosentConfig, LossError, Result, l2_normalize};

/// Ranking loss of `B` scored pairs:
///
/// ```text
/// loss = log( 1 + Σ_{(i, j): gold_i > gold_j} exp(scale · (cos_j - cos_i)) )
/// ```
///
/// `first` and `second` are `[B, D]`, of one dtype and device; row `i` of both is pair `i` with the score
/// `gold[i]`. Only the order of the scores counts: graded scores and binary labels both do. Pairs with equal
/// scores are not compared; where all are equal the loss is 0. The sum is over the batch, not a mean: the loss grows with the
/// batch size.
///
/// A differentiable scalar, float32 (float64 for float64 embeddings). Holds a few `[B, B]`. Fails when shapes,
/// dtypes or the number of scores do not fit, on a score that is not finite, and on a scale out of range.
pub fn cosent(first: &Tensor, second: &Tensor, gold: &[f32], config: &CosentConfig) -> Result<Tensor> {
    config.validate()?;
    let uncompared = uncompared(first, second, gold)?;
    let unit = |embeddings: &Tensor| l2_normalize(&in_full_precision(embeddings)?);
    let cosines = (unit(first)? * unit(second)?)?.sum(1)?; // [B]
    let differences = cosines.unsqueeze(0)?.broadcast_sub(&cosines.unsqueeze(1)?)?; // [B, B]: cos_j - cos_i
    let logits = (differences * config.scale)?;
    Ok(log_one_plus_sum_exp(&logits, uncompared)?)
}

/// log(1 + Σ exp(logit)) over the logits that are not `excluded`: a log-sum-exp with one more logit of 0.
/// The shift by the maximum changes no value, so it is detached; without it `exp` overflows.
fn log_one_plus_sum_exp(logits: &Tensor, excluded: Vec<u8>) -> candle_core::Result<Tensor> {
    let excluded = Tensor::from_vec(excluded, logits.shape(), logits.device())?;
    let infinity = Tensor::full(f32::NEG_INFINITY, logits.shape(), logits.device())?;
    // `where_cond` passes no gradient to what it replaces, so no 0 · ∞ can arise.
    let logits = excluded.where_cond(&infinity.to_dtype(logits.dtype())?, logits)?.flatten_all()?;
    let zero = Tensor::zeros(1, logits.dtype(), logits.device())?;
    let logits = Tensor::cat(&[&zero, &logits], 0)?; // [1 + B²]
    let largest = logits.detach().max(0)?;
    logits.broadcast_sub(&largest)?.exp()?.sum_all()?.log()? + largest
}

/// Marks the pairs of pairs that say nothing, `[B, B]`, after all input was checked.
fn uncompared(first: &Tensor, second: &Tensor, gold: &[f32]) -> Result<Vec<u8>> {
    let wrong = |problem: String| Err(LossError::Embeddings(format!("cosent: {problem}")));
    if first.rank() != 2 || first.dims() != second.dims() || first.dims()[0] != gold.len() {
        return wrong(format!(
            "embeddings {:?} and {:?} for {} gold scores; fix: give two [B, D] and B scores",
            first.dims(),
            second.dims(),
            gold.len()
        ));
    }
    if let Some(pair) = gold.iter().position(|score| !score.is_finite()) {
        return wrong(format!(
            "the gold score of pair {pair} (from 0) is {}; fix: leave pairs without a score out",
            gold[pair]
        ));
    }
    let says_nothing = |higher: &f32, lower: &f32| u8::from(higher <= lower);
    Ok(gold.iter().flat_map(|i| gold.iter().map(move |j| says_nothing(i, j))).collect())
}
