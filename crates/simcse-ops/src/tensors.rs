//! Getting at the float32 values of a CPU tensor, and back.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// The values of a contiguous float32 storage.
pub(crate) fn values<'a>(name: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let slice = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&slice[start..end]),
        None => bail!("{name}: the input must be contiguous, got strides {:?}", layout.stride()),
    }
}

/// Calls `use_values` with the float32 values of a CPU tensor, made contiguous where it is not.
pub(crate) fn with_values<R>(tensor: &Tensor, use_values: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => use_values(values("kernel", cpu, layout)?),
        _ => bail!("this kernel has a CPU form only"),
    }
}
