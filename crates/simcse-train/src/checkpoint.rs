//! The exact state of a run in one file.
//!
//! A safetensors file with `parameter/<name>`, `first_moment/<name>`, `second_moment/<name>`, once there is
//! a best dev score `best/<name>`, and `objective/<name>` for what the objective keeps from step to step; the
//! rest of the state is JSON in its metadata. It is written to a temporary file and renamed, so a crash or a
//! full disk leaves the previous one.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use simcse_data::DataError;
use simcse_model::ParameterSet;
use simcse_ops::adamw::Moments;

use crate::health::Health;
use crate::objective::Objective;
use crate::optimizer::AdamW;
use crate::{Result, TrainError};

const STATE: &str = "state";
const OBJECTIVE: &str = "objective/";

/// What a checkpoint holds beside tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Hash of configuration, seed and data: a checkpoint continues only the run that wrote it.
    pub fingerprint: String,
    /// Steps done.
    pub step: u64,
    /// Best dev score so far and the step after which it was measured.
    pub best: Option<Best>,
    /// Measurements since the best one.
    pub without_improvement: u64,
    /// The health checks' memory.
    pub health: Health,
    /// Seconds trained so far, over all parts of the run.
    pub seconds: f64,
    /// The SIMD level that computed it: another one rounds otherwise.
    pub simd: String,
}

/// A dev score and its step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done when it was measured.
    pub step: u64,
    /// The score.
    pub score: f64,
}

/// Writes the checkpoint whole or not at all. Fails, and says how to mend it, when it cannot be written; an older one stays.
pub fn save(
    path: &Path,
    state: &State,
    parameters: &ParameterSet,
    best: Option<&[Tensor]>,
    optimizer: &AdamW,
    objective: &dyn Objective,
) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, tensor) in objective.state()? {
        tensors.push(Entry::of_tensor(format!("{OBJECTIVE}{name}"), &tensor)?);
    }
    for (index, (name, variable)) in parameters.iter().enumerate() {
        tensors.push(Entry::of_tensor(format!("parameter/{name}"), variable)?);
        if let Some(best) = best {
            tensors.push(Entry::of_tensor(format!("best/{name}"), &best[index])?);
        }
    }
    for (name, moments) in optimizer.moments() {
        let shape = vec![moments.first.len()];
        tensors.push(Entry::new(format!("first_moment/{name}"), shape.clone(), &moments.first));
        tensors.push(Entry::new(format!("second_moment/{name}"), shape, &moments.second));
    }
    let fail = |problem: String| TrainError::Checkpoint { path: path.to_owned(), problem };
    let bytes = encode(state, &tensors).map_err(|error| fail(format!("cannot be made: {error:#}")))?;
    simcse_data::write_whole(path, &bytes).map_err(|error| {
        let reason = match error {
            DataError::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        fail(format!(
            "cannot be written ({reason}); fix: make room or choose another --out; an older one is intact"
        ))
    })
}

/// A tensor as it stands in the file.
struct Entry {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Entry {
    fn new(name: String, shape: Vec<usize>, values: &[f32]) -> Self {
        Self { name, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    fn of_tensor(name: String, tensor: &Tensor) -> Result<Self> {
        Ok(Self::new(name, tensor.dims().to_vec(), &tensor.flatten_all()?.to_vec1::<f32>()?))
    }
}

fn encode(state: &State, tensors: &[Entry]) -> anyhow::Result<Vec<u8>> {
    let views = tensors
        .iter()
        .map(|Entry { name, shape, bytes }| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let metadata = HashMap::from([(STATE.to_owned(), serde_json::to_string(state)?)]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// Removes the checkpoint of a run whose results are on disk; it is no error when there is none. Fails when it cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(TrainError::Checkpoint {
            path: path.to_owned(),
            problem: format!("the run is finished, but its checkpoint stays ({error}); fix: delete it"),
        }),
        _ => Ok(()),
    }
}

/// Reads a checkpoint back into parameters, optimiser and objective. Returns its state and the best
/// parameters.
///
/// Fails, and says how to mend it, when the file is cut short, is no checkpoint, or was written by a run
/// with another `fingerprint`.
pub fn load(
    path: &Path,
    fingerprint: &str,
    parameters: &ParameterSet,
    optimizer: &mut AdamW,
    objective: &mut dyn Objective,
) -> Result<(State, Option<Vec<Tensor>>)> {
    let fail = |problem: String| TrainError::Checkpoint { path: path.to_owned(), problem };
    let bytes = std::fs::read(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let broken = |error: &dyn std::fmt::Display| {
        fail(format!("is broken or cut short ({error}); fix: delete it to begin the run anew"))
    };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| broken(&error))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| broken(&error))?;
    let text = metadata.metadata().as_ref().and_then(|all| all.get(STATE)).map_or("", String::as_str);
    let state: State = serde_json::from_str(text).map_err(|error| broken(&error))?;
    if state.fingerprint != fingerprint {
        return Err(fail(
            "was written by another configuration, seed or data; fix: delete it, or give another --out"
                .to_owned(),
        ));
    }
    let values = |name: String| -> Result<Vec<f32>> {
        let view = file.tensor(&name).map_err(|error| broken(&format!("{name}: {error}")))?;
        let (chunks, _) = view.data().as_chunks::<4>();
        Ok(chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    };
    let tensor = |kind: &str, name: &str, like: &Tensor| -> Result<Tensor> {
        Tensor::from_vec(values(format!("{kind}/{name}"))?, like.shape(), &Device::Cpu)
            .map_err(|error| broken(&error))
    };
    let mut objective_state = Vec::new();
    let mut names = file.names();
    names.sort_unstable(); // the file keeps them in a hash map
    for name in names.into_iter().filter(|name| name.starts_with(OBJECTIVE)) {
        let shape = file.tensor(name).map_err(|error| broken(&error))?.shape().to_vec();
        let tensor = Tensor::from_vec(values(name.to_owned())?, shape, &Device::Cpu)?;
        objective_state.push((name[OBJECTIVE.len()..].to_owned(), tensor));
    }
    objective.restore(&objective_state).map_err(|error| broken(&error))?;
    for (name, variable) in parameters.iter() {
        variable.set(&tensor("parameter", name, variable)?)?;
    }
    optimizer.restore(state.step, |name| {
        let (first, second) =
            (values(format!("first_moment/{name}"))?, values(format!("second_moment/{name}"))?);
        Ok(Moments { first, second })
    })?;
    let best = match state.best {
        Some(_) => Some(
            parameters
                .iter()
                .map(|(name, variable)| tensor("best", name, variable))
                .collect::<Result<_>>()?,
        ),
        None => None,
    };
    Ok((state, best))
}
