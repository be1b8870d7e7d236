//! Gradients of parameters past candle's sums.
//!
//! candle begins the gradient of every tensor with zeros and adds what each op returns to a new tensor: for a table of
//! words, four passes over tens of megabytes, on one thread. Inside of [`backward`] the kernels of this crate write
//! gradients of parameters where they stay, and candle does not see them.

mod norm;
mod store;

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{Result, Tensor, TensorId, bail};

use crate::products::Output;
use crate::tensors::zeros;

pub use store::{Gradient, Gradients, RowGradient};

thread_local! {
    /// What the kernels of a backward pass of this thread have written so far; `None` outside of one.
    static COLLECTED: RefCell<Option<Collected>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Collected {
    places: HashMap<TensorId, usize>,
    gradients: Vec<(Tensor, Vec<f32>)>,
    /// Of tables, by row.
    rows: Vec<(Tensor, RowGradient)>,
}

/// As [`Tensor::backward`], with the gradients that the kernels of this crate kept from candle; those of tables of words
/// are rows. The sums are the same to the bit. Fails where candle does, on a loss that is no scalar, and when a [`crate::tape`]
/// is walked back twice.
pub fn backward(loss: &Tensor) -> Result<Gradients> {
    let collection = Collection::begin();
    let mut gradients = Gradients::from(loss.backward()?);
    let Collected { gradients: collected, rows, .. } = collection.end();
    for (parameter, values) in collected {
        let gradient = Tensor::from_vec(values, parameter.shape(), parameter.device())?;
        gradients.add(&parameter, Gradient::Whole(gradient))?;
    }
    for (table, gradient) in rows {
        gradients.add(&table, Gradient::Rows(gradient))?;
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
    check_collected(parameter)?;
    collect(parameter, write);
    Ok(())
}

/// The gradient of a table by its rows, where the table is an input of its op: collected, or returned for candle.
pub(crate) fn of_rows(table: &Tensor, rows: impl FnOnce() -> RowGradient) -> Result<Option<Tensor>> {
    if !table.track_op() {
        return Ok(None);
    }
    if table.is_variable() && collects() {
        collect_rows(table, rows());
        return Ok(None);
    }
    Gradient::Rows(rows()).to_whole(table).map(Some)
}

/// As [`of_rows`] for a table that candle does not know to be one of its op. Fails as [`of_parameter`].
pub(crate) fn of_table(table: &Tensor, rows: impl FnOnce() -> RowGradient) -> Result<()> {
    if !table.track_op() {
        return Ok(());
    }
    check_collected(table)?;
    collect_rows(table, rows());
    Ok(())
}

fn check_collected(parameter: &Tensor) -> Result<()> {
    if !parameter.is_variable() || !collects() {
        bail!(
            "this gradient would be lost; fix: go backward by simcse_ops::gradients::backward, from variables"
        );
    }
    Ok(())
}

fn collects() -> bool {
    COLLECTED.with_borrow(Option::is_some)
}

fn collect(parameter: &Tensor, write: impl FnOnce(&mut [f32], Output)) {
    COLLECTED.with_borrow_mut(|collected| {
        let Some(Collected { places, gradients, .. }) = collected else { return };
        if let Some(place) = places.get(&parameter.id()) {
            return write(&mut gradients[*place].1, Output::Add);
        }
        let mut values = zeros(parameter.elem_count());
        write(&mut values, Output::Overwrite);
        places.insert(parameter.id(), gradients.len());
        gradients.push((parameter.clone(), values));
    });
}

fn collect_rows(table: &Tensor, rows: RowGradient) {
    COLLECTED.with_borrow_mut(|collected| {
        if let Some(collected) = collected {
            collected.rows.push((table.clone(), rows));
        }
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
        let (plain, collected) = (loss.backward().unwrap().into(), backward(&loss).unwrap());
        for parameter in [weight, bias] {
            let values = |gradients: &Gradients| {
                let whole = gradients.whole(parameter).unwrap().unwrap();
                whole.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            let pairs = values(&plain).into_iter().zip(values(&collected));
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() <= 1e-6 * a.abs().max(1.0)));
            assert!(values(&collected).iter().any(|value| value.abs() > 0.1));
        }
        assert!(!collects());
    }
}
