//! Reading and writing the files of an encoder directory.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Serialize, de::DeserializeOwned};
use simcse_data::write_whole;

use crate::{ModelError, Result};

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        ModelError::file(folder, format!("{error}; fix: choose a folder that can be written"))
    })
}

pub(super) fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let tensors = tensors.iter().map(|(name, tensor)| Ok((name, tensor.contiguous()?)));
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    // `transformers` wants to be told which library's layout this is.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes =
        safetensors::serialize(tensors, Some(format)).map_err(|error| ModelError::file(path, error))?;
    Ok(write_whole(path, &bytes)?)
}

pub(super) fn read_tensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    candle_core::safetensors::load(path, &Device::Cpu).map_err(|error| {
        ModelError::file(path, format!("{error}; fix: copy the encoder directory again, whole"))
    })
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| ModelError::file(path, error))?;
    Ok(write_whole(path, (text + "\n").as_bytes())?)
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ModelError::file(
            path,
            format!("{error}; fix: name the folder that a training run wrote as `encoder`"),
        )
    })?;
    serde_json::from_str(&text).map_err(|error| {
        ModelError::file(path, format!("{error}; fix: copy the encoder directory again, whole"))
    })
}
