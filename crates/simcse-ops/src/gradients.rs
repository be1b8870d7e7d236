//! Gradients of parameters past candle's sums.
//!
//! candle begins the gradient of every tensor with zeros and adds what each op returns to a new tensor: for a table of
//! words, four passes over tens of megabytes, on one thread. Inside of [`backward`] the kernels of this crate write
//! gradients of parameters where they stay, and candle does not see them.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId, bail};

use crate::products::Output;
use crate::tensors::zeros;

thread_local! {
    /// What the kernels of a backward pass of this thread have written so far; `None` outside of one.
    static COLLECTED: RefCell<Option<Collected>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Collected {
    places: HashMap<TensorId, usize>,
    gradients: Vec<(Tensor, Vec<f32>)>,
}

/// As [`Tensor::backward`], with the gradients that the kernels of this crate kept from candle. The sums are the same
/// to the bit.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let collection = Collection::begin();
    let mut gradients = loss.backward()?;
    for (parameter, values) in collection.end().gradients {
        let gradient = Tensor::from_vec(values, parameter.shape(), parameter.device())?;
        let gradient = match gradients.remove(&parameter) {
            Some(other) => (other + gradient)?,
            None => gradient,
        };
        gradients.insert(&parameter, gradient);
    }
    Ok(gradients)
}

/// Ends collecting when the backward pass is over, however it ends.
struct Collection {
    outer: Option<Collected>,
}

impl Collection {
    fn begin() -> Self {
        Self { outer: COLLECTED.replace(Some(Collected::default())) }
    }

    fn end(self) -> Collected {
        COLLECTED.take().unwrap_or_default()
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        COLLECTED.set(self.outer.take());
    }
}

/// The gradient of a parameter that is an input of its op: collected, or returned for candle to add up. `write` gets
/// zeros of the parameter's size to overwrite, or an earlier gradient to add to.
pub(crate) fn of_input(parameter: &Tensor, write: impl FnOnce(&mut [f32], Output)) -> Result<Option<Tensor>> {
    if !parameter.track_op() {
        return Ok(None);
    }
    if parameter.is_variable() && collects() {
        collect(parameter, write);
        return Ok(None);
    }
    let mut values = zeros(parameter.elem_count());
    write(&mut values, Output::Overwrite);
    Ok(Some(Tensor::from_vec(values, parameter.shape(), parameter.device())?))
}

/// The gradient of a parameter that candle does not know to be one of its op. Fails outside of [`backward`], where it
/// would be lost.
pub(crate) fn of_parameter(parameter: &Tensor, write: impl FnOnce(&mut [f32], Output)) -> Result<()> {
    if !parameter.track_op() {
        return Ok(());
    }
    if !parameter.is_variable() || !collects() {
        bail!(
            "this gradient would be lost; fix: go backward by simcse_ops::gradients::backward, from variables"
        );
    }
    collect(parameter, write);
    Ok(())
}

fn collects() -> bool {
    COLLECTED.with_borrow(Option::is_some)
}

fn collect(parameter: &Tensor, write: impl FnOnce(&mut [f32], Output)) {
    COLLECTED.with_borrow_mut(|collected| {
        let Some(Collected { places, gradients }) = collected else { return };
        if let Some(place) = places.get(&parameter.id()) {
            return write(&mut gradients[*place].1, Output::Add);
        }
        let mut values = zeros(parameter.elem_count());
        write(&mut values, Output::Overwrite);
        places.insert(parameter.id(), gradients.len());
        gradients.push((parameter.clone(), values));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::{Activation, Precision, linear};
    use candle_core::{Device, Var};

    /// A weight that two ops share, and a bias that one shares with candle's own addition.
    #[test]
    fn gradients_are_those_of_candle_and_sums_over_all_uses() {
        let numbers = |count: usize, seed| crate::products::tests::numbers(count, seed);
        let tensor = |count, shape: &[usize], seed| {
            Tensor::from_vec(numbers(count, seed), shape, &Device::Cpu).unwrap()
        };
        let weight = Var::from_tensor(&tensor(16, &[4, 4], 1)).unwrap();
        let bias = Var::from_tensor(&tensor(4, &[4], 2)).unwrap();
        let input = tensor(12, &[3, 4], 3);
        let (weight, bias) = (weight.as_tensor(), bias.as_tensor());
        let layer =
            |input: &Tensor| linear(input, weight, bias, Activation::Gelu, Precision::Float32).unwrap();
        let output = layer(&layer(&input)).broadcast_add(bias).unwrap();
        let loss = (&output * &output).unwrap().sum_all().unwrap();
        let (plain, collected) = (loss.backward().unwrap(), backward(&loss).unwrap());
        for parameter in [weight, bias] {
            let values = |store: &GradStore| {
                store.get(parameter).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            let pairs = values(&plain).into_iter().zip(values(&collected));
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() <= 1e-6 * a.abs().max(1.0)));
            assert!(values(&collected).iter().any(|value| value.abs() > 0.1));
        }
        assert!(!collects());
    }
}
