//! Layers end to end, as one op of candle.
//!
//! candle's backward pass begins the gradient of every intermediate tensor with zeros, adds what the op returns to a new
//! tensor, and keeps a thread pool of its own spinning meanwhile: a sixth of the time of a training step of BERT. A
//! [`Tape`] notes the kernels of a forward pass and walks them back by itself. Gradients of parameters go to
//! [`crate::gradients`], so the backward pass must be started by [`crate::gradients::backward`].

mod steps;
mod walk;

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use crate::Segments;
use crate::attention::{Attention, Queries};
use crate::dropout::DropoutMasks;
use crate::embedding::check_ids;
use crate::layer_norm::{LayerNorm, LayerNormWeights};
use crate::linear::{Activation, Layer, Precision};
use crate::products::View;
use crate::simd::Level;
use crate::tensors::{with_all_values, with_values};
use steps::{AttentionStep, FirstRows, LinearInput, LinearStep, LinearWeights, NormStep, RowsStep, Step};
use walk::Walk;

/// A matrix on a tape, `[rows, columns]`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct States {
    values: Arc<Vec<f32>>,
    rows: usize,
    columns: usize,
    /// Where its gradient is gathered.
    slot: usize,
    /// What the values came from, where the backward pass may as well compute them again.
    from: Option<Activated>,
}

/// What went into an activation. Its output is four times as large as the other states of a transformer, and quickly
/// computed: it is not kept for the backward pass.
#[derive(Debug, Clone)]
struct Activated {
    before: Arc<Vec<f32>>,
    layer: Layer,
}

impl States {
    fn view(&self) -> View<'_> {
        View::new(&self.values, self.rows, self.columns)
    }
}

/// The kernels of a forward pass.
pub struct Tape {
    level: Level,
    input: Tensor,
    steps: Vec<(usize, Box<dyn Step>)>,
    slots: usize,
}

/// Rows of a table `[V, E]`, one of each token.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The table.
    pub table: &'a Tensor,
    /// Its row for each token, `[T]`.
    pub ids: &'a [u32],
}

/// What stands around a layer normalisation, as [`crate::layer_norm::LayerNormSites`].
#[derive(Debug, Clone, Copy)]
pub struct NormSites<'a> {
    /// The sentences of the batch.
    pub segments: &'a Segments,
    /// Added to the input after its dropout, `[T, H]`.
    pub residual: Option<&'a States>,
    /// Dropout of the input.
    pub input_masks: Option<&'a DropoutMasks>,
    /// Dropout of the output.
    pub output_masks: Option<&'a DropoutMasks>,
}

impl Tape {
    /// A tape that begins with `input`, `[T, H]`, and notes its steps if that has a gradient. Fails unless it is a float32 matrix
    /// on the CPU.
    pub fn begin(input: &Tensor) -> Result<(Self, States)> {
        Self::begin_at(Level::current(), input)
    }

    /// [`Tape::begin`] at a chosen SIMD level.
    pub fn begin_at(level: Level, input: &Tensor) -> Result<(Self, States)> {
        let (rows, columns) = input.dims2()?;
        let values = with_values(input, |values| Ok(values.to_vec()))?;
        let states = States { values: values.into(), rows, columns, slot: 0, from: None };
        Ok((Self { level, input: input.clone(), steps: Vec::new(), slots: 1 }, states))
    }

    /// A tape that begins with words: each token is the sum of its rows of several tables `[Vᵢ, E]`, `[T, E]`.
    ///
    /// The gradients of the tables come by row. Fails when a table lacks a row, and when the tables differ in their
    /// columns, in their number of tokens, or in whether they are trained.
    pub fn begin_with_rows(tables: &[Rows<'_>]) -> Result<(Self, States)> {
        let Some(words) = tables.first() else { bail!("a tape of no table") };
        let size = check_ids(words.table, words.ids)?;
        for Rows { table, ids } in tables {
            let alike = check_ids(table, ids)? == size && ids.len() == words.ids.len();
            if !alike || table.track_op() != words.table.track_op() {
                bail!("rows of tables that differ in columns, tokens or training");
            }
        }
        let step = RowsStep::new(tables, size);
        let values = step.sums()?;
        // The table stands for the input; the walk back leaves its gradient to the step.
        let mut tape =
            Self { level: Level::current(), input: words.table.clone(), steps: Vec::new(), slots: 1 };
        let states = tape.note(values, size, || Box::new(step));
        Ok((tape, states))
    }

    fn tracks(&self) -> bool {
        self.input.track_op()
    }

    /// The output of a step, which is noted if there will be a backward pass.
    fn note(&mut self, values: Vec<f32>, columns: usize, step: impl FnOnce() -> Box<dyn Step>) -> States {
        let slot = self.slots;
        if self.tracks() {
            self.slots += 1;
            self.steps.push((slot, step()));
        }
        let rows = values.len().checked_div(columns).unwrap_or(0);
        States { values: values.into(), rows, columns, slot, from: None }
    }

    /// Linear layers side by side, then `activation`: `[T, K]`, weights `[Nᵢ, K]` and biases `[Nᵢ]` → `[T, Σ Nᵢ]`.
    ///
    /// Fails when the shapes do not fit together or a tensor is not contiguous float32 on the CPU.
    pub fn linear(
        &mut self,
        input: &States,
        layers: &[(&Tensor, &Tensor)],
        activation: Activation,
        precision: Precision,
    ) -> Result<States> {
        let layer = Layer { level: self.level, activation, precision };
        let weights = LinearWeights::new(layers, input.columns)?;
        let tracks = self.tracks();
        let (output, before) =
            weights.with_values(|views, bias| Ok(layer.forward(input.view(), views, bias, tracks)))?;
        let columns = weights.columns();
        let before = Arc::new(before);
        let kept = tracks && activation != Activation::Identity;
        let from = kept.then(|| Activated { before: before.clone(), layer });
        let input = LinearInput::of(input);
        let output = self.note(output, columns, || Box::new(LinearStep { layer, weights, input, before }));
        Ok(States { from, ..output })
    }

    /// [`crate::attention::attention`] of queries, keys and values `[T, 3H]`; with `first_only` the first token of each
    /// sentence alone asks, and the output is `[S, H]`.
    ///
    /// Fails when the shapes do not fit together, and with `first_only` on a sentence without tokens.
    pub fn attention(
        &mut self,
        projected: &States,
        heads: usize,
        segments: &Segments,
        masks: Option<&DropoutMasks>,
        first_only: bool,
    ) -> Result<States> {
        let (queries, columns) = (if first_only { Queries::First } else { Queries::All }, projected.columns);
        let attention =
            Attention::new(self.level, (projected.rows, columns), heads, queries, segments, masks)?;
        let output = attention.forward(&projected.values);
        Ok(self.note(output, columns / 3, || {
            Box::new(AttentionStep { attention, projected: projected.clone() })
        }))
    }

    /// `norm(dropout(input) + residual) · weight + bias`, `[T, H]`; see [`crate::layer_norm::layer_norm`].
    ///
    /// Fails when shapes, segments and masks disagree.
    pub fn layer_norm(
        &mut self,
        input: &States,
        weights: LayerNormWeights,
        sites: NormSites,
    ) -> Result<States> {
        let NormSites { segments, residual, input_masks, output_masks } = sites;
        let size = input.columns;
        let fit = weights.weight.dims() == [size] && weights.bias.dims() == [size] && size > 0;
        let same = residual.is_none_or(|other| (other.rows, other.columns) == (input.rows, size));
        let masked = [input_masks, output_masks].iter().flatten().all(|masks| masks.rows() == segments.len());
        if !fit || !same || !masked || segments.tokens() != input.rows {
            bail!(
                "layer norm: {} x {size} with a residual, weights, segments or masks that do not fit",
                input.rows
            );
        }
        let norm = LayerNorm {
            level: self.level,
            size,
            epsilon: weights.epsilon as f32,
            segments: segments.clone(),
            input_masks: input_masks.cloned(),
            output_masks: output_masks.cloned(),
            keeps: self.tracks(),
            saved: std::sync::Mutex::default(),
        };
        let affine = with_all_values(&[weights.weight, weights.bias], |values| Ok(values.concat()))?;
        let output =
            norm.forward(&input.values, residual.map(|residual| residual.values.as_slice()), &affine);
        let (weight, bias) = (weights.weight.clone(), weights.bias.clone());
        let slots = (input.slot, residual.map(|residual| residual.slot));
        Ok(self.note(output, size, || Box::new(NormStep { norm, affine, weight, bias, slots })))
    }

    /// The first row of each sentence: `[T, H]` → `[S, H]`. Fails where a sentence has none.
    pub fn first_rows(&mut self, input: &States, segments: &Segments) -> Result<States> {
        if segments.tokens() != input.rows || segments.any_empty() {
            bail!(
                "first rows: segments of {} tokens for {} rows, or an empty one",
                segments.tokens(),
                input.rows
            );
        }
        let size = input.columns;
        let first = (0..segments.len()).map(|sentence| segments.range(sentence).start * size);
        let output = first.flat_map(|start| input.values[start..start + size].iter().copied()).collect();
        let step = FirstRows { segments: segments.clone(), input: input.slot, size };
        Ok(self.note(output, size, || Box::new(step)))
    }

    /// Queries of the first tokens `[S, H]` beside keys and values of all tokens `[T, 2H]`, as [`Tape::attention`] with
    /// `first_only` reads them: `[T, 3H]`, queries of other tokens 0. Fails when the rows do not fit.
    pub fn beside_first_queries(
        &mut self,
        queries: &States,
        others: &States,
        segments: &Segments,
    ) -> Result<States> {
        let (size, columns) = (queries.columns, queries.columns + others.columns);
        if queries.rows != segments.len() || others.rows != segments.tokens() || segments.any_empty() {
            bail!("queries of {} sentences beside {} tokens", queries.rows, others.rows);
        }
        let mut output = vec![0.0; others.rows * columns];
        for (row, values) in output.chunks_exact_mut(columns).zip(others.values.chunks_exact(others.columns))
        {
            row[size..].copy_from_slice(values);
        }
        for (sentence, query) in queries.values.chunks_exact(size).enumerate() {
            let start = segments.range(sentence).start * columns;
            output[start..start + size].copy_from_slice(query);
        }
        let (segments, slots) = (segments.clone(), (queries.slot, others.slot));
        Ok(self.note(output, columns, || Box::new(steps::BesideQueries { segments, slots, size, columns })))
    }

    /// Hands states over to candle. Their gradients walk back to the tape's input and parameters.
    ///
    /// Fails where `outputs` differ in their number of columns.
    pub fn finish(self, outputs: &[States]) -> Result<Vec<Tensor>> {
        let Some(columns) = outputs.first().map(|output| output.columns) else { return Ok(Vec::new()) };
        if outputs.iter().any(|output| output.columns != columns) {
            bail!("states of different sizes leave a tape");
        }
        let rows: Vec<usize> = outputs.iter().map(|output| output.rows).collect();
        let values: Vec<f32> = match outputs {
            [output] => output.values.to_vec(),
            _ => outputs.iter().flat_map(|output| output.values.iter().copied()).collect(),
        };
        let shape = (rows.iter().sum::<usize>(), columns);
        let all = if self.tracks() {
            let slots = outputs.iter().map(|output| (output.slot, output.values.len())).collect();
            let input = self.input.clone();
            input.apply_op1(Walk::new(self.steps, self.slots, slots, values, shape))?
        } else {
            Tensor::from_vec(values, shape, self.input.device())?
        };
        if let [_] = outputs {
            return Ok(vec![all]);
        }
        let starts = rows.iter().scan(0, |start, rows| Some(std::mem::replace(start, *start + rows)));
        starts.zip(&rows).map(|(start, rows)| all.narrow(0, start, *rows)).collect()
    }
}
