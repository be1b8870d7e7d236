//! Gradients by parameter, whole or by row.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId, bail};
use rayon::prelude::*;

use crate::in_place;
use crate::tensors::{to_tensor, with_values, zeros};

/// The gradient of one parameter.
#[derive(Debug, Clone)]
pub enum Gradient {
    /// Of the parameter's shape.
    Whole(Tensor),
    /// Of a table `[V, E]` of which a batch used a few rows.
    Rows(RowGradient),
}

/// The rows of a table's gradient that are not 0: a batch holds some hundred words of tens of thousands.
#[derive(Debug, Clone, PartialEq)]
pub struct RowGradient {
    /// Numbers of the rows `R`, rising.
    rows: Vec<u32>,
    /// `[R, E]`.
    values: Vec<f32>,
    /// `E`.
    size: usize,
}

impl RowGradient {
    /// Sums the gradients of tokens, `[T, E]`, by their rows `ids` of the table: for each row in the order of the tokens,
    /// whatever the number of threads.
    pub(crate) fn of_tokens(ids: &[u32], tokens: &[f32], size: usize) -> Self {
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|token| ids[*token]);
        let groups: Vec<&[usize]> = order.chunk_by(|a, b| ids[*a] == ids[*b]).collect();
        let mut values = zeros(groups.len() * size);
        values.par_chunks_mut(size.max(1)).zip(&groups).for_each(|(row, group)| {
            for token in *group {
                add(row, &tokens[token * size..(token + 1) * size]);
            }
        });
        Self { rows: groups.iter().map(|group| ids[group[0]]).collect(), values, size }
    }

    /// Numbers of the rows, rising.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The gradients of the rows in their order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks(self.size.max(1))
    }

    /// All values, row after row.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Adds the rows to a table of `[V, E]` values.
    pub(crate) fn add_to(&self, table: &mut [f32]) {
        for (row, values) in self.rows.iter().zip(self.chunks()) {
            let start = *row as usize * self.size;
            add(&mut table[start..start + self.size], values);
        }
    }

    /// Adds the rows of another gradient of the same table.
    fn join(self, other: &Self) -> Self {
        let ids = [self.rows, other.rows.clone()].concat();
        Self::of_tokens(&ids, &[self.values, other.values.clone()].concat(), self.size)
    }
}

fn add(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

impl Gradient {
    /// The gradient in the shape of its `parameter`, which is [`Gradient::Whole`] as it is. Fails on a row that the
    /// parameter lacks.
    pub fn to_whole(&self, parameter: &Tensor) -> Result<Tensor> {
        match self {
            Self::Whole(tensor) => Ok(tensor.clone()),
            Self::Rows(rows) => {
                rows.check(parameter)?;
                let mut values = zeros(parameter.elem_count());
                rows.add_to(&mut values);
                to_tensor(values, parameter)
            }
        }
    }

    /// The sum of two gradients of `parameter`.
    fn plus(self, other: Self, parameter: &Tensor) -> Result<Self> {
        Ok(match (self, other) {
            (Self::Rows(one), Self::Rows(other)) => Self::Rows(one.join(&other)),
            (Self::Whole(one), Self::Whole(other)) => {
                in_place::update(&one, &other, |sum, value| sum + value)?;
                Self::Whole(one)
            }
            (Self::Whole(whole), Self::Rows(rows)) | (Self::Rows(rows), Self::Whole(whole)) => {
                rows.check(parameter)?;
                let mut values = with_values(&whole, |values| Ok(values.to_vec()))?;
                rows.add_to(&mut values);
                Self::Whole(to_tensor(values, parameter)?)
            }
        })
    }
}

impl RowGradient {
    /// Fails unless these are rows of `table`.
    pub(crate) fn check(&self, table: &Tensor) -> Result<()> {
        match table.dims() {
            [rows, size]
                if *size == self.size && self.rows.last().is_none_or(|row| (*row as usize) < *rows) =>
            {
                Ok(())
            }
            dims => {
                bail!("a gradient of rows of {} values up to {:?} for {dims:?}", self.size, self.rows.last())
            }
        }
    }
}

/// What a backward pass gives: gradients by parameter.
#[derive(Debug, Default)]
pub struct Gradients(HashMap<TensorId, Gradient>);

impl Gradients {
    /// The gradient of a parameter, if one reached it.
    pub fn get(&self, parameter: &Tensor) -> Option<&Gradient> {
        self.0.get(&parameter.id())
    }

    /// The gradient of a parameter in its shape, if one reached it. Fails where rows do not fit the parameter.
    pub fn whole(&self, parameter: &Tensor) -> Result<Option<Tensor>> {
        self.get(parameter).map(|gradient| gradient.to_whole(parameter)).transpose()
    }

    /// Takes the gradient of a parameter out.
    pub fn remove(&mut self, parameter: &Tensor) -> Option<Gradient> {
        self.0.remove(&parameter.id())
    }

    /// Adds to the gradient of a parameter. Fails when the shapes differ.
    pub fn add(&mut self, parameter: &Tensor, gradient: Gradient) -> Result<()> {
        let sum = match self.remove(parameter) {
            Some(so_far) => so_far.plus(gradient, parameter)?,
            None => gradient,
        };
        self.0.insert(parameter.id(), sum);
        Ok(())
    }
}

impl From<GradStore> for Gradients {
    fn from(store: GradStore) -> Self {
        let gradient = |id: &TensorId| Some((*id, Gradient::Whole(store.get_id(*id)?.clone())));
        Self(store.get_ids().filter_map(gradient).collect())
    }
}
