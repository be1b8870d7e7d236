//! The way back over a tape.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::steps::Step;
use crate::tensors::{lock, to_tensor, with_values};

/// Elements of one parallel task.
const CHUNK: usize = 1 << 15;

/// What is left of a tape when its forward pass is over.
struct Rest {
    steps: Vec<(usize, Box<dyn Step>)>,
    slots: usize,
}

/// From the tape's input to its outputs, one below the other.
pub(super) struct Walk {
    rest: Mutex<Option<Rest>>,
    /// Slot and number of values of each output.
    outputs: Vec<(usize, usize)>,
    values: Mutex<Vec<f32>>,
    shape: (usize, usize),
}

impl Walk {
    pub(super) fn new(
        steps: Vec<(usize, Box<dyn Step>)>,
        slots: usize,
        outputs: Vec<(usize, usize)>,
        values: Vec<f32>,
        shape: (usize, usize),
    ) -> Self {
        Self { rest: Mutex::new(Some(Rest { steps, slots })), outputs, values: Mutex::new(values), shape }
    }
}

impl CustomOp1 for Walk {
    fn name(&self) -> &'static str {
        "tape"
    }

    fn cpu_fwd(&self, _input: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = std::mem::take(&mut *lock(&self.values));
        Ok((CpuStorage::F32(values), Shape::from(self.shape)))
    }

    fn bwd(&self, input: &Tensor, _output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(Rest { steps, slots }) = lock(&self.rest).take() else {
            bail!("a tape can be walked back once; fix: run the forward pass again")
        };
        let mut slots = Slots(vec![None; slots]);
        with_values(gradient, |mut gradient| {
            for (slot, count) in &self.outputs {
                let (here, others) = gradient.split_at(*count);
                slots.add(*slot, here.to_vec());
                gradient = others;
            }
            Ok(())
        })?;
        for (slot, step) in steps.into_iter().rev() {
            if let Some(gradient) = slots.0[slot].take() {
                step.backward(gradient, &mut slots)?;
            }
        }
        slots.0[0].take().map(|values| to_tensor(values, input)).transpose()
    }
}

/// Gradients of states that are not walked over yet.
pub(super) struct Slots(Vec<Option<Vec<f32>>>);

impl Slots {
    /// Adds to the gradient of a slot.
    pub(super) fn add(&mut self, slot: usize, values: Vec<f32>) {
        match &mut self.0[slot] {
            place @ None => *place = Some(values),
            Some(sum) => {
                let _time = crate::profile::kernel("sums of gradients");
                sum.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(sum, values)| {
                    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                });
            }
        }
    }

    /// The gradient of a slot so far, to be added to in place: `None` if there is none.
    pub(super) fn take(&mut self, slot: usize) -> Option<Vec<f32>> {
        self.0[slot].take()
    }
}
