//! Named weights of a published model, whatever file they stand in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::pickle::PthTensors;
use candle_core::safetensors::BufferedSafetensors;
use candle_core::{DType, Device, Tensor};
use simcse_data::weight_files;

use super::names::canonical;
use crate::{ModelError, Result};

/// Weights as float32, by canonical name. `wanted` says which ones are worth the memory; of the others only
/// the names are kept.
#[derive(Debug, Default)]
pub(super) struct Weights {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) left: BTreeSet<String>,
}

impl Weights {
    /// Reads all files of [`weight_files`]. Fails, naming the file, when one is missing or damaged, holds
    /// a weight that is no floating-point tensor, or two weights have one name.
    pub(super) fn read(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Self> {
        let mut weights = Self::default();
        for path in weight_files(folder)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => {}
                Some("safetensors") => weights.read_safetensors(&path, wanted)?,
                _ => weights.read_pickle(&path, wanted)?,
            }
        }
        Ok(weights)
    }

    fn read_safetensors(&mut self, path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        let bytes = std::fs::read(path).map_err(|error| damaged(path, error))?;
        let file = BufferedSafetensors::new(bytes).map_err(|error| damaged(path, error))?;
        let names: BTreeSet<String> = file.tensors().into_iter().map(|(name, _)| name).collect();
        for name in names {
            self.add(path, &name, wanted, || file.load(&name, &Device::Cpu))?;
        }
        Ok(())
    }

    fn read_pickle(&mut self, path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        let file = PthTensors::new(path, None).map_err(|error| {
            // PyTorch before 1.6 wrote another format, without an archive around it.
            let mend =
                "copy the model's folder again, whole, or save it with `transformers` as model.safetensors";
            ModelError::file(path, format!("{error}; fix: {mend}"))
        })?;
        let names: BTreeSet<&String> = file.tensor_infos().keys().collect();
        for name in names {
            let tensor = || {
                let missing = || candle_core::Error::Msg(format!("{name} has no values"));
                file.get(name)?.ok_or_else(missing)
            };
            self.add(path, name, wanted, tensor)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        path: &Path,
        name: &str,
        wanted: &dyn Fn(&str) -> bool,
        tensor: impl FnOnce() -> candle_core::Result<Tensor>,
    ) -> Result<()> {
        let canonical = canonical(name);
        if !wanted(&canonical) {
            self.left.insert(canonical);
            return Ok(());
        }
        let tensor = tensor().map_err(|error| damaged(path, error))?;
        if !tensor.dtype().is_float() {
            let problem = format!("{name} holds {:?}; fix: use floating-point weights", tensor.dtype());
            return Err(ModelError::file(path, problem));
        }
        let tensor = tensor.to_dtype(DType::F32)?;
        match self.tensors.insert(canonical, tensor) {
            Some(_) => {
                Err(ModelError::file(path, format!("holds {name} twice, with and without its prefix")))
            }
            None => Ok(()),
        }
    }
}

fn damaged(path: &Path, error: impl std::fmt::Display) -> ModelError {
    ModelError::file(path, format!("{error}; fix: copy the model's folder again, whole"))
}
