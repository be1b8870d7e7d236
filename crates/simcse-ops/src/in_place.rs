//! Updates of one tensor by another without a copy: gradients of pieces are summed and momentum parameters
//! moved at the size of the model, where a temporary for each tensor would cost more than the arithmetic.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

/// Elements of one parallel task.
const CHUNK: usize = 1 << 15;

/// Replaces each value `t` of `target` by `rule(t, s)`, `s` being the value of `source` at its place.
///
/// Fails when the shapes differ or a tensor is not contiguous float32 on the CPU. The result does not depend
/// on threads: no value is read that another task writes.
pub fn update(target: &Tensor, source: &Tensor, rule: impl Fn(f32, f32) -> f32 + Send + Sync) -> Result<()> {
    if target.shape() != source.shape() {
        bail!("update in place: {:?} by {:?}", target.dims(), source.dims());
    }
    target.inplace_op2(&source.contiguous()?, &Update(rule))
}

struct Update<F>(F);

impl<F: Fn(f32, f32) -> f32 + Send + Sync> InplaceOp2 for Update<F> {
    fn name(&self) -> &'static str {
        "update in place"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(target), CpuStorage::F32(source)) = (target, source) else {
            bail!("update in place: both tensors must be float32")
        };
        let (Some((start, end)), Some((source_start, source_end))) =
            (target_layout.contiguous_offsets(), source_layout.contiguous_offsets())
        else {
            bail!("update in place: both tensors must be contiguous")
        };
        let tasks = target[start..end].par_chunks_mut(CHUNK);
        tasks.zip(source[source_start..source_end].par_chunks(CHUNK)).for_each(|(target, source)| {
            for (target, source) in target.iter_mut().zip(source) {
                *target = (self.0)(*target, *source);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// More than one task, and a source that is not laid out as the target is.
    #[test]
    fn every_value_meets_the_one_at_its_place() {
        let (rows, columns) = (300, 250);
        let count = (rows * columns) as f32;
        let target = Tensor::arange(0.0, count, &Device::Cpu).unwrap().reshape((rows, columns)).unwrap();
        let source = Tensor::arange(0.0, count, &Device::Cpu).unwrap().reshape((columns, rows)).unwrap();
        update(&target, &source.t().unwrap(), |t, s| 2.0 * t - s).unwrap();
        for (row, values) in target.to_vec2::<f32>().unwrap().iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                let wanted = 2.0 * (row * columns + column) as f32 - (column * rows + row) as f32;
                assert_eq!(*value, wanted, "at {row}, {column}");
            }
        }
    }

    #[test]
    fn other_shapes_and_kinds_of_numbers_are_refused() {
        let zeros = |shape: &[usize], kind| Tensor::zeros(shape, kind, &Device::Cpu).unwrap();
        let target = zeros(&[2, 3], DType::F32);
        for source in [zeros(&[3, 2], DType::F32), zeros(&[2, 3], DType::F64)] {
            assert!(update(&target, &source, |t, _| t).is_err());
        }
    }
}
