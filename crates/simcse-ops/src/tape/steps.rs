//! The steps of a tape, each with its way back.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use super::walk::Slots;
use super::{Activated, Rows, States};
use crate::Segments;
use crate::attention::Attention;
use crate::gradients::{self, RowGradient};
use crate::layer_norm::LayerNorm;
use crate::linear::{Activation, Layer};
use crate::products::{Output, View};
use crate::profile;
use crate::tensors::{with_all_values, zeros};

/// One kernel of a forward pass.
pub(super) trait Step: Send + Sync {
    /// Adds to the gradients of what went in, given that of what came out.
    fn backward(self: Box<Self>, gradient: Vec<f32>, slots: &mut Slots) -> Result<()>;
}

/// Sums of rows of tables.
pub(super) struct RowsStep {
    /// Each table `[V, E]`, with its row for each token.
    tables: Vec<(Tensor, Vec<u32>)>,
    size: usize,
}

impl RowsStep {
    pub(super) fn new(tables: &[Rows<'_>], size: usize) -> Self {
        let tables = tables.iter().map(|Rows { table, ids }| ((*table).clone(), ids.to_vec())).collect();
        Self { tables, size }
    }

    /// `[T, E]`.
    pub(super) fn sums(&self) -> Result<Vec<f32>> {
        let _time = profile::kernel("embedding, forward");
        let tables: Vec<&Tensor> = self.tables.iter().map(|(table, _)| table).collect();
        let tokens = self.tables.first().map_or(0, |(_, ids)| ids.len());
        with_all_values(&tables, |tables| {
            let mut sums = zeros(tokens * self.size);
            for (token, sum) in sums.chunks_exact_mut(self.size.max(1)).enumerate() {
                for (table, (_, ids)) in tables.iter().zip(&self.tables) {
                    let row = &table[ids[token] as usize * self.size..][..self.size];
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
            }
            Ok(sums)
        })
    }
}

impl Step for RowsStep {
    fn backward(self: Box<Self>, gradient: Vec<f32>, _slots: &mut Slots) -> Result<()> {
        let _time = profile::kernel("embedding, backward");
        for (table, ids) in &self.tables {
            gradients::of_table(table, || RowGradient::of_tokens(ids, &gradient, self.size))?;
        }
        Ok(())
    }
}

/// Linear layers side by side.
pub(super) struct LinearWeights {
    /// Weight `[Nᵢ, K]` and bias `[Nᵢ]` of each.
    layers: Vec<(Tensor, Tensor)>,
    inner: usize,
}

impl LinearWeights {
    pub(super) fn new(layers: &[(&Tensor, &Tensor)], inner: usize) -> Result<Self> {
        for (weight, bias) in layers {
            let (columns, weight_inner) = weight.dims2()?;
            if weight_inner != inner || bias.dims() != [columns] {
                bail!("linear: {inner} columns through {:?} and {:?}", weight.dims(), bias.dims());
            }
        }
        let layers = layers.iter().map(|(weight, bias)| ((*weight).clone(), (*bias).clone())).collect();
        Ok(Self { layers, inner })
    }

    pub(super) fn columns(&self) -> usize {
        self.layers.iter().map(|(_, bias)| bias.elem_count()).sum()
    }

    /// Calls `use_values` with the weights and all biases in a row.
    pub(super) fn with_values<R>(&self, use_values: impl FnOnce(&[View], &[f32]) -> Result<R>) -> Result<R> {
        let weights: Vec<&Tensor> = self.layers.iter().map(|(weight, _)| weight).collect();
        let biases: Vec<&Tensor> = self.layers.iter().map(|(_, bias)| bias).collect();
        with_all_values(&weights, |weights| {
            with_all_values(&biases, |biases| {
                let views = weights
                    .iter()
                    .zip(biases)
                    .map(|(weight, bias)| View::new(weight, bias.len(), self.inner));
                use_values(&views.collect::<Vec<_>>(), &biases.concat())
            })
        })
    }
}

/// What a linear layer needs of its input for the way back.
pub(super) struct LinearInput {
    kept: Kept,
    rows: usize,
    slot: usize,
}

enum Kept {
    Values(Arc<Vec<f32>>),
    /// They are computed again.
    Activated(Activated),
}

impl LinearInput {
    pub(super) fn of(states: &States) -> Self {
        let kept = match &states.from {
            Some(from) => Kept::Activated(from.clone()),
            None => Kept::Values(states.values.clone()),
        };
        Self { kept, rows: states.rows, slot: states.slot }
    }
}

pub(super) struct LinearStep {
    pub(super) layer: Layer,
    pub(super) weights: LinearWeights,
    pub(super) input: LinearInput,
    /// What went into the activation.
    pub(super) before: Arc<Vec<f32>>,
}

impl Step for LinearStep {
    fn backward(self: Box<Self>, gradient: Vec<f32>, slots: &mut Slots) -> Result<()> {
        let Self { layer, weights, input: LinearInput { kept, rows, slot }, before } = *self;
        let gradient = match layer.activation {
            Activation::Identity => gradient,
            _ => {
                let mut before = Arc::unwrap_or_clone(before);
                layer.through_activation(&gradient, &mut before);
                before
            }
        };
        let input = match kept {
            Kept::Values(values) => values,
            Kept::Activated(Activated { before, layer }) => Arc::new(layer.activated(&before)),
        };
        let input = View::new(&input, rows, weights.inner);
        let all = View::new(&gradient, rows, weights.columns());
        let mut first = 0;
        let parts: Vec<View> = weights
            .layers
            .iter()
            .map(|(_, bias)| {
                let part = all.middle_columns(first, bias.elem_count());
                first += bias.elem_count();
                part
            })
            .collect();
        for ((weight, bias), part) in weights.layers.iter().zip(&parts) {
            gradients::of_parameter(weight, |result, mode| layer.of_weight(*part, input, result, mode))?;
            gradients::of_parameter(bias, |result, _| layer.of_bias(*part, result))?;
        }
        let (mut of_input, mut mode) = match slots.take(slot) {
            Some(so_far) => (so_far, Output::Add),
            None => (zeros(input.values.len()), Output::Overwrite),
        };
        weights.with_values(|views, _| {
            for (weight, part) in views.iter().zip(&parts) {
                layer.of_input(*part, *weight, &mut of_input, mode);
                mode = Output::Add;
            }
            Ok(())
        })?;
        slots.add(slot, of_input);
        Ok(())
    }
}

pub(super) struct AttentionStep {
    pub(super) attention: Attention,
    pub(super) projected: States,
}

impl Step for AttentionStep {
    fn backward(self: Box<Self>, gradient: Vec<f32>, slots: &mut Slots) -> Result<()> {
        slots.add(self.projected.slot, self.attention.backward(&self.projected.values, &gradient));
        Ok(())
    }
}

pub(super) struct NormStep {
    pub(super) norm: LayerNorm,
    /// Weight and bias.
    pub(super) affine: Vec<f32>,
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    /// Of input and residual.
    pub(super) slots: (usize, Option<usize>),
}

impl Step for NormStep {
    fn backward(self: Box<Self>, gradient: Vec<f32>, slots: &mut Slots) -> Result<()> {
        let (of_sum, of_input, of_affine) = self.norm.backward(&self.affine, gradient);
        let (of_weight, of_bias) = of_affine.split_at(self.norm.size);
        for (parameter, values) in [(&self.weight, of_weight), (&self.bias, of_bias)] {
            gradients::of_parameter(parameter, |result, _| {
                result.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            })?;
        }
        let (input, residual) = self.slots;
        match residual {
            Some(residual) => {
                slots.add(input, of_input.unwrap_or_else(|| of_sum.clone()));
                slots.add(residual, of_sum);
            }
            None => slots.add(input, of_input.unwrap_or(of_sum)),
        }
        Ok(())
    }
}

pub(super) struct FirstRows {
    pub(super) segments: Segments,
    pub(super) input: usize,
    pub(super) size: usize,
}

impl Step for FirstRows {
    fn backward(self: Box<Self>, gradient: Vec<f32>, slots: &mut Slots) -> Result<()> {
        let mut of_input =
            slots.take(self.input).unwrap_or_else(|| zeros(self.segments.tokens() * self.size));
        for (sentence, row) in gradient.chunks_exact(self.size).enumerate() {
            let start = self.segments.range(sentence).start * self.size;
            let target = &mut of_input[start..start + self.size];
            target.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        slots.add(self.input, of_input);
        Ok(())
    }
}

pub(super) struct BesideQueries {
    pub(super) segments: Segments,
    /// Of the queries and of what stands beside them.
    pub(super) slots: (usize, usize),
    /// Columns of the queries.
    pub(super) size: usize,
    pub(super) columns: usize,
}

impl Step for BesideQueries {
    fn backward(self: Box<Self>, gradient: Vec<f32>, slots: &mut Slots) -> Result<()> {
        let Self { segments, slots: (queries, others), size, columns } = *self;
        let first = (0..segments.len()).map(|sentence| segments.range(sentence).start * columns);
        let of_queries = first.flat_map(|start| gradient[start..start + size].iter().copied()).collect();
        let of_others = gradient.chunks_exact(columns).flat_map(|row| row[size..].iter().copied()).collect();
        slots.add(queries, of_queries);
        slots.add(others, of_others);
        Ok(())
    }
}
