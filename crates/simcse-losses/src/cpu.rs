//! Getting at the values of a CPU tensor.

use candle_core::{CpuStorage, Layout, Result, bail};

/// The values of a contiguous float32 storage.
pub(crate) fn values<'a>(name: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let slice = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&slice[start..end]),
        None => bail!("{name}: the logits must be contiguous, got strides {:?}", layout.stride()),
    }
}
