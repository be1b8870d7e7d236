//! The likelihood of an order (Xia et al. 2008, "Listwise Approach to Learning to Rank", equation 9).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;
use simcse_ops::values;

/// `-ln P(order) / M` of logits `[B, M]` that stand in the order wanted: `[B]`. P draws one after the other, each with the
/// softmax over those that are left.
///
/// A backward of its own: the sums over what is left are running sums, which candle's operations would make of `M`
/// matrices. float32 on the CPU only.
pub(super) fn list_mle(logits: &Tensor) -> Result<Tensor> {
    let (_, columns) = logits.dims2()?;
    logits.contiguous()?.apply_op1(ListMle { columns })
}

struct ListMle {
    columns: usize,
}

/// ln(eᵃ + eᵇ).
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// ln Σ e^logit over each place and those after it.
fn log_sums_of_the_rest(logits: &[f32]) -> Vec<f64> {
    let mut sum = f64::NEG_INFINITY;
    let mut sums: Vec<f64> = logits
        .iter()
        .rev()
        .map(|logit| {
            sum = log_add(sum, f64::from(*logit));
            sum
        })
        .collect();
    sums.reverse();
    sums
}

impl CustomOp1 for ListMle {
    fn name(&self) -> &'static str {
        "list_mle"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let loss = |row: &[f32]| {
            let sums = log_sums_of_the_rest(row);
            let total: f64 = sums.iter().zip(row).map(|(sum, logit)| sum - f64::from(*logit)).sum();
            (total / row.len() as f64) as f32
        };
        let losses: Vec<f32> =
            values(self.name(), storage, layout)?.par_chunks_exact(self.columns).map(loss).collect();
        let shape = Shape::from(losses.len());
        Ok((CpuStorage::F32(losses), shape))
    }

    fn bwd(&self, logits: &Tensor, _losses: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.to_vec1::<f32>()?;
        let (storage, layout) = logits.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("list_mle: this kernel has a CPU form only") };
        let rows = values(self.name(), storage, layout)?.par_chunks_exact(self.columns).zip(&gradient);
        let of_logits: Vec<Vec<f32>> =
            rows.map(|(row, gradient)| slopes(row, f64::from(*gradient))).collect();
        Ok(Some(Tensor::from_vec(of_logits.concat(), logits.shape(), logits.device())?))
    }
}

/// By logit j: the probability with which it would have been drawn at each place up to its own, less the one time it was.
fn slopes(row: &[f32], gradient: f64) -> Vec<f32> {
    let mut drawn = f64::NEG_INFINITY; // ln Σ_{k ≤ j} e^(-sum of the rest at k)
    let factor = gradient / row.len() as f64;
    let places = row.iter().zip(log_sums_of_the_rest(row));
    places
        .map(|(logit, sum)| {
            drawn = log_add(drawn, -sum);
            (factor * ((f64::from(*logit) + drawn).exp() - 1.0)) as f32
        })
        .collect()
}
