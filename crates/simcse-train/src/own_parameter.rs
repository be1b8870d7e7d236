//! Parameters of an objective's own, which the encoder's optimiser does not see: what a checkpoint holds of them.

use candle_core::{Device, Tensor};
use simcse_ops::adamw::{AdamWStep, Moments};

use crate::{Result, TrainConfig};

/// A parameter with what AdamW keeps of it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) value: Tensor,
    pub(crate) moments: Moments,
    pub(crate) steps: u64,
}

/// AdamW's constants for such a parameter: those of the encoder, without weight decay.
pub(crate) fn constants(train: &TrainConfig) -> AdamWStep {
    AdamWStep {
        learning_rate: 0.0,
        beta1: train.beta1,
        beta2: train.beta2,
        epsilon: train.epsilon,
        weight_decay: 0.0,
        step: 0,
        gradient_scale: 1.0,
    }
}

/// The entries of a checkpoint for the parameter `name`.
pub(crate) fn entries(
    name: &str,
    value: &Tensor,
    moments: &Moments,
    steps: u64,
) -> Result<Vec<(String, Tensor)>> {
    let tensor = |values: &[f32]| Tensor::from_slice(values, value.shape(), &Device::Cpu);
    Ok(vec![
        (name.to_owned(), value.clone()),
        (format!("{name}/first_moment"), tensor(&moments.first)?),
        (format!("{name}/second_moment"), tensor(&moments.second)?),
        // A checkpoint holds float32; exact up to 2^24 steps.
        (format!("{name}/steps"), Tensor::new(&[steps as f32], &Device::Cpu)?),
    ])
}

/// Reads [`entries`] back. Fails when a part is missing or of another shape than `like`.
pub(crate) fn read(name: &str, like: &Tensor, state: &[(String, Tensor)]) -> Result<Kept> {
    let find = |wanted: &str| {
        let found = state.iter().find(|(name, _)| name == wanted).map(|(_, tensor)| tensor);
        found.ok_or_else(|| anyhow::anyhow!("holds no {wanted}"))
    };
    let same_shape = |wanted: &str| -> Result<Tensor> {
        let tensor = find(wanted)?;
        if tensor.shape() != like.shape() {
            let (found, shape) = (tensor.dims(), like.dims());
            return Err(anyhow::anyhow!("holds {wanted} of {found:?} instead of {shape:?}").into());
        }
        Ok(tensor.clone())
    };
    let values = |wanted: &str| -> Result<Vec<f32>> { Ok(same_shape(wanted)?.flatten_all()?.to_vec1()?) };
    let steps = find(&format!("{name}/steps"))?.flatten_all()?.to_vec1::<f32>()?;
    Ok(Kept {
        value: same_shape(name)?,
        moments: Moments {
            first: values(&format!("{name}/first_moment"))?,
            second: values(&format!("{name}/second_moment"))?,
        },
        steps: steps.first().copied().unwrap_or_default() as u64,
    })
}
