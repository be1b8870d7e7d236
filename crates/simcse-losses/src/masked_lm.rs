//! Masked language modelling: cross-entropy over the vocabulary at the masked positions (Devlin et al. 2019,
//! section 3.1; Gao et al. 2021 add it as an auxiliary objective).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result as TensorResult, Shape, Storage, Tensor, bail};
use rayon::prelude::*;
use simcse_ops::values;

use crate::info_nce::cross_entropy;
use crate::{LossError, Result};

/// Mean of `-log softmax(logits)` at the targets, a scalar that can be differentiated.
///
/// `logits` `[M, V]`, float32: one row for each masked position. `targets` `[M]`: the token that stood there.
///
/// On the CPU the logits are read row by row and nothing of their size is kept for the backward pass, whose
/// only large allocation is the gradient itself. Every row is summed in float64 from the first column to the
/// last, so the result does not depend on the number of threads. On other devices it is made of candle's
/// operations, which hold a few `[M, V]`.
///
/// Fails without targets, on a target outside of the vocabulary, and when shapes or dtype do not fit.
pub fn masked_lm_loss(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    validate(logits, targets)?;
    let losses = if logits.device().is_cpu() {
        logits.contiguous()?.apply_op1(RowCrossEntropy { targets: targets.into() })?
    } else {
        cross_entropy(logits, targets)?
    };
    Ok(losses.mean_all()?)
}

fn validate(logits: &Tensor, targets: &[u32]) -> Result<()> {
    let wrong = |problem: String| Err(LossError::Embeddings(format!("masked_lm_loss: {problem}")));
    if targets.is_empty() {
        return wrong("no masked position; fix: leave this loss out of the step, or mask more tokens".into());
    }
    if logits.rank() != 2 || logits.dims()[0] != targets.len() || logits.dtype() != candle_core::DType::F32 {
        return wrong(format!(
            "logits {:?} of {:?} for {} targets; fix: give float32 [M, V] and M targets",
            logits.dims(),
            logits.dtype(),
            targets.len()
        ));
    }
    let vocabulary_size = logits.dims()[1];
    match targets.iter().find(|&&target| target as usize >= vocabulary_size) {
        Some(target) => wrong(format!(
            "target {target} where the logits know {vocabulary_size} tokens; fix: use the encoder's own \
             tokenizer"
        )),
        None => Ok(()),
    }
}

/// -log softmax at the target of each row: `[M, V]` → `[M]`.
struct RowCrossEntropy {
    targets: Arc<[u32]>,
}

impl RowCrossEntropy {
    fn losses(&self, logits: &[f32]) -> Vec<f32> {
        let columns = logits.len() / self.targets.len();
        logits
            .par_chunks_exact(columns)
            .zip(&self.targets[..])
            .map(|(row, &target)| {
                let largest = largest(row);
                let sum: f64 = row.iter().map(|&logit| f64::from((logit - largest).exp())).sum();
                (sum.ln() - f64::from(row[target as usize] - largest)) as f32
            })
            .collect()
    }

    /// `(softmax - one-hot) · gradient` of each row. The log-sum is not kept but found again from the loss:
    /// it is the loss plus the target's logit, both relative to the largest.
    fn gradient(&self, logits: &[f32], losses: &[f32], gradients: &[f32]) -> Vec<f32> {
        let columns = logits.len() / self.targets.len();
        let mut result = vec![0.0; logits.len()];
        result.par_chunks_exact_mut(columns).enumerate().for_each(|(index, result)| {
            let row = &logits[index * columns..(index + 1) * columns];
            let (target, gradient) = (self.targets[index] as usize, gradients[index]);
            let largest = largest(row);
            let log_sum = losses[index] + (row[target] - largest);
            for (result, &logit) in result.iter_mut().zip(row) {
                *result = (logit - largest - log_sum).exp() * gradient;
            }
            result[target] -= gradient;
        });
        result
    }
}

impl CustomOp1 for RowCrossEntropy {
    fn name(&self) -> &'static str {
        "masked_lm_loss"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> TensorResult<(CpuStorage, Shape)> {
        let losses = self.losses(values(self.name(), storage, layout)?);
        Ok((CpuStorage::F32(losses), Shape::from(self.targets.len())))
    }

    fn bwd(&self, logits: &Tensor, losses: &Tensor, gradients: &Tensor) -> TensorResult<Option<Tensor>> {
        let (losses, gradients) = (losses.to_vec1::<f32>()?, gradients.to_vec1::<f32>()?);
        let (storage, layout) = logits.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            bail!("masked_lm_loss: this kernel has a CPU form only")
        };
        let gradient = self.gradient(values(self.name(), storage, layout)?, &losses, &gradients);
        Ok(Some(Tensor::from_vec(gradient, logits.shape(), logits.device())?))
    }
}

/// The largest value; eight at a time, which the compiler makes one instruction. NaN is passed over: the sum
/// of exponentials shows it.
fn largest(row: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for values in row.chunks(LANES) {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}
