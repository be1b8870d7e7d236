//! Anchors against candidates, some anchors at a time.

use std::ops::Range;

use candle_core::{
    CpuStorage, CustomOp1, DType, Device, Layout as Strides, Result, Shape, Tensor, Var, bail,
};

use crate::RowGroups;
use crate::info_nce::cross_entropy;
use crate::layout::Layout;

/// Similarities that are held at once: 8 MB of float32, of which the passes of a loss make a few copies. A batch of 1,024
/// with the candidates of both views is one block.
const SIMILARITIES: usize = 1 << 21;

/// Everything about a contrastive loss but the embeddings.
#[derive(Debug, Clone)]
pub(crate) struct Contrast {
    pub(crate) layout: Layout,
    pub(crate) temperature: f64,
    pub(crate) groups: Option<OwnedGroups>,
}

/// [`RowGroups`] that outlive a call.
#[derive(Debug, Clone)]
pub(crate) struct OwnedGroups {
    anchors: Vec<u32>,
    positives: Vec<u32>,
    hard: Vec<u32>,
}

impl OwnedGroups {
    pub(crate) fn of(groups: &RowGroups<'_>) -> Self {
        let [anchors, positives, hard] = [groups.anchors, groups.positives, groups.hard].map(<[u32]>::to_vec);
        Self { anchors, positives, hard }
    }

    pub(crate) fn rows(&self) -> RowGroups<'_> {
        RowGroups { anchors: &self.anchors, positives: &self.positives, hard: &self.hard }
    }
}

impl Contrast {
    /// The anchors in parts whose similarities are held at once.
    pub(crate) fn blocks(&self) -> Vec<Range<usize>> {
        self.blocks_of(SIMILARITIES)
    }

    fn blocks_of(&self, similarities: usize) -> Vec<Range<usize>> {
        let (rows, size) = (self.layout.rows(), (similarities / self.layout.columns().max(1)).max(1));
        (0..rows).step_by(size).map(|start| start..(start + size).min(rows)).collect()
    }

    /// The loss of each anchor, `[R]`. `all` `[2B + M + Q, D]`: both views, hard negatives, queue, so prepared that their
    /// dot product is the similarity.
    pub(crate) fn losses(&self, all: &Tensor) -> Result<Tensor> {
        self.losses_in(all, self.blocks())
    }

    fn losses_in(&self, all: &Tensor, blocks: Vec<Range<usize>>) -> Result<Tensor> {
        match blocks.as_slice() {
            [block] => self.losses_of(all, block.clone()),
            _ if !all.device().is_cpu() => self.losses_of(all, 0..self.layout.rows()),
            _ => {
                let size = all.dims2()?.1;
                all.contiguous()?.apply_op1(Blocks { contrast: self.clone(), blocks, size })
            }
        }
    }

    /// The loss of some anchors, `[r]`.
    fn losses_of(&self, all: &Tensor, rows: Range<usize>) -> Result<Tensor> {
        let logits = (self.layout.compare(all, rows.clone())? / self.temperature)?;
        let logits = match self.layout.added(rows.clone()) {
            Some(added) => {
                let added = Tensor::from_vec(added, logits.shape(), logits.device())?;
                (&logits + added.to_dtype(logits.dtype())?)?
            }
            None => logits,
        };
        let groups = self.groups.as_ref().map(OwnedGroups::rows);
        let logits = without(&logits, &self.layout.excluded(rows.clone(), groups.as_ref()))?;
        cross_entropy(&logits, &self.layout.targets(rows))
    }
}

/// The logits with -∞ where `excluded` says so. `where_cond` passes no gradient to what it replaces, so no
/// product of zero and infinity can arise in the backward pass.
fn without(logits: &Tensor, excluded: &[u8]) -> Result<Tensor> {
    if excluded.iter().all(|&is_excluded| is_excluded == 0) {
        return Ok(logits.clone());
    }
    let excluded = Tensor::from_slice(excluded, logits.shape(), logits.device())?;
    let infinity = Tensor::full(f32::NEG_INFINITY, logits.shape(), logits.device())?;
    excluded.where_cond(&infinity.to_dtype(logits.dtype())?, logits)
}

/// The losses of all anchors, block by block: nothing of a block is kept, the backward pass computes it again.
struct Blocks {
    contrast: Contrast,
    blocks: Vec<Range<usize>>,
    /// `D`.
    size: usize,
}

impl CustomOp1 for Blocks {
    fn name(&self) -> &'static str {
        "info_nce"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Strides) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("info_nce: embeddings in pieces") };
        let shape = ((end - start) / self.size.max(1), self.size);
        let all = match storage {
            CpuStorage::F32(values) => Tensor::from_slice(&values[start..end], shape, &Device::Cpu)?,
            CpuStorage::F64(values) => Tensor::from_slice(&values[start..end], shape, &Device::Cpu)?,
            _ => bail!("info_nce: embeddings must be float32 or float64"),
        };
        let losses = self.blocks.iter().map(|rows| self.contrast.losses_of(&all, rows.clone()));
        let losses = Tensor::cat(&losses.collect::<Result<Vec<_>>>()?, 0)?;
        let storage = match losses.dtype() {
            DType::F64 => CpuStorage::F64(losses.to_vec1()?),
            _ => CpuStorage::F32(losses.to_vec1()?),
        };
        Ok((storage, losses.shape().clone()))
    }

    fn bwd(&self, all: &Tensor, _losses: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let all = Var::from_tensor(&all.detach())?;
        let mut sum: Option<Tensor> = None;
        for rows in &self.blocks {
            let losses = self.contrast.losses_of(&all, rows.clone())?;
            let weighted = (losses * gradient.narrow(0, rows.start, rows.len())?)?.sum_all()?;
            let of_block = weighted.backward()?.remove(&all);
            sum = match (sum, of_block) {
                (Some(sum), Some(of_block)) => Some((sum + of_block)?),
                (sum, of_block) => sum.or(of_block),
            };
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Candidates, HardNegatives, InfoNceConfig, Negatives, Similarity};

    /// Anchors in any number of blocks have the losses and the gradient of all at once.
    #[test]
    fn blocks_are_the_whole() {
        const PAIRS: usize = 7;
        let number = |i: u32| f64::from(simcse_random::uniform_bits(3, i)) / f64::from(u32::MAX) - 0.5;
        let values: Vec<f64> = (0..(2 * PAIRS as u32 + 3) * 4).map(number).collect();
        let all = Tensor::from_vec(values, (2 * PAIRS + 3, 4), &Device::Cpu).unwrap();
        let all = Var::from_tensor(&all).unwrap();
        let (hard, queue) = (all.narrow(0, 0, 2).unwrap(), all.narrow(0, 0, 1).unwrap());
        let hard = HardNegatives { embeddings: &hard, owners: &[4, 1], weight: 0.5 };
        let groups = [0, 1, 2, 1, 4, 5, 6];
        let groups = OwnedGroups { anchors: groups.to_vec(), positives: groups.to_vec(), hard: vec![7, 2] };
        let kinds = [Candidates::OtherView, Candidates::BothViews].map(|c| [(c, false), (c, true)]);
        for (candidates, symmetric) in kinds.concat() {
            let config = InfoNceConfig {
                candidates,
                symmetric,
                similarity: Similarity::Dot,
                temperature: 0.3,
                margin: Some(0.1),
                shared_dropout_mask: false,
                hard_negative_weight: Some(0.5),
                queue: None,
            };
            let negatives = Negatives { hard: Some(hard), queue: Some(&queue) };
            let layout = Layout::new(&config, PAIRS, &negatives);
            let contrast = Contrast { layout, temperature: 0.3, groups: Some(groups.clone()) };
            let run = |similarities: usize| {
                let blocks = contrast.blocks_of(similarities);
                let losses = contrast.losses_in(&all, blocks.clone()).unwrap();
                let end = 1.0 + losses.elem_count() as f64;
                let weights = Tensor::arange(1.0, end, &Device::Cpu).unwrap();
                let gradients = (&losses * weights).unwrap().sum_all().unwrap().backward().unwrap();
                let gradient = gradients.get(&all).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
                (blocks.len(), losses.to_vec1::<f64>().unwrap(), gradient)
            };
            let (one, losses, gradient) = run(1 << 20);
            assert_eq!(one, 1);
            for similarities in [1, 40, 60] {
                let (blocks, found_losses, found_gradient) = run(similarities);
                assert!(blocks > 1);
                let pairs = found_losses.iter().zip(&losses).chain(found_gradient.iter().zip(&gradient));
                assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12), "{config:?}, {blocks} blocks");
            }
        }
    }
}
