//! Getting at the float32 values of a CPU tensor, and back.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// The values of a contiguous float32 storage, for the forward pass of an op called `name`. Fails on other numbers, and where
/// they are not contiguous.
pub fn values<'a>(name: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let slice = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&slice[start..end]),
        None => bail!("{name}: the input must be contiguous, got strides {:?}", layout.stride()),
    }
}

/// The values of a contiguous float32 storage, to be written.
pub(crate) fn values_mut<'a>(
    name: &str,
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("{name}: the values must be float32") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut values[start..end]),
        None => bail!("{name}: the values must be contiguous, got strides {:?}", layout.stride()),
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

/// As [`with_values`] for several tensors, which must be contiguous.
pub(crate) fn with_all_values<R>(
    tensors: &[&Tensor],
    use_values: impl FnOnce(&[&[f32]]) -> Result<R>,
) -> Result<R> {
    let held: Vec<_> = tensors.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let slices: Result<Vec<&[f32]>> = held
        .iter()
        .map(|(storage, layout)| match &**storage {
            Storage::Cpu(cpu) => values("kernel", cpu, layout),
            _ => bail!("this kernel has a CPU form only"),
        })
        .collect();
    use_values(&slices?)
}

/// The values as a tensor of the shape and device of `like`.
pub(crate) fn to_tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// So many zeros, written by all threads: a table of words has tens of megabytes.
pub(crate) fn zeros(count: usize) -> Vec<f32> {
    if count < 1 << 18 { vec![0.0; count] } else { rayon::iter::repeat_n(0.0, count).collect() }
}

/// `count` copies of a row, written by all threads.
pub(crate) fn repeated(row: &[f32], count: usize) -> Vec<f32> {
    let (pieces, rest) = row.as_chunks::<16>();
    if !rest.is_empty() || pieces.is_empty() || row.len() * count < 1 << 18 {
        return row.repeat(count);
    }
    let places = (0..pieces.len() * count).into_par_iter().with_min_len(1 << 10);
    places.map(|place| pieces[place % pieces.len()]).collect::<Vec<[f32; 16]>>().into_flattened()
}

/// Cuts a slice into consecutive parts of the given sizes.
pub(crate) fn split_mut<T>(mut rest: &mut [T], sizes: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let mut parts = Vec::new();
    for size in sizes {
        let (part, tail) = rest.split_at_mut(size);
        parts.push(part);
        rest = tail;
    }
    parts
}

/// A lock whose holder cannot leave it in a bad state, so a panic elsewhere does not matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_repeated_whatever_its_length() {
        for (length, count) in [(48, 6000), (50, 6000), (16, 3), (7, 0), (0, 4)] {
            let row: Vec<f32> = (0..length).map(|value| value as f32).collect();
            assert_eq!(repeated(&row, count), row.repeat(count), "{length} x {count}");
        }
    }
}
