//! Cross-entropy over normalised classes with a margin, streamed over the table of classes.
//!
//! A table of 100,000 classes times 128 rows would make 51 MB of logits, and some copies of them. Here the table is
//! walked through in blocks that stay in the cache: forward keeps one number for each row, backward computes the
//! logits of a block again.

mod average;
mod backward;
mod directions;
mod seen;
mod streamed;

use std::sync::{Arc, Mutex};

use candle_core::{Result, Tensor, bail};

use crate::adamw::{AdamWStep, Moments};
use crate::linear::Precision;
use crate::simd::Level;
use crate::tensors::lock;
pub use average::average_rows;
use streamed::{Streamed, TableShape};

/// What is asked of the right class beyond being the nearest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Margin {
    /// Nothing: softmax over cosines (Wang et al. 2017, "NormFace").
    None,
    /// cos θ - m (Wang et al. 2018, AM-Softmax, equation 6; Wang et al. 2018, CosFace, equation 4).
    Cosine(f32),
    /// cos(θ + m) (Deng et al. 2019, ArcFace, equation 3); beyond π, where it would rise again,
    /// cos θ - m sin m, as its authors' code does.
    Angle(f32),
}

/// The constants of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarginSoftmax {
    /// Multiplies every cosine: s.
    pub scale: f32,
    /// Of the right class.
    pub margin: Margin,
    /// Rows of the table for each class, of which the nearest counts (Deng et al. 2020, "Sub-center ArcFace").
    pub sub_centres: usize,
    /// What the products with the table are computed in.
    pub precision: Precision,
}

/// What [`margin_softmax`] gives beside the losses.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassDiagnostics {
    /// Cosine of each row with its own class, without margin, `[B]`.
    pub own_cosine: Vec<f32>,
    /// The nearest class of each row, the first of several, `[B]`.
    pub nearest: Vec<u32>,
}

/// What AdamW keeps of a table that moves in the backward pass.
#[derive(Debug, Clone, Default)]
pub struct TableMoments {
    /// Of the table's values.
    pub moments: Moments,
    /// How often the table has been moved.
    pub updates: u64,
}

/// The table is to be moved in the backward pass, each block while its gradient is in the cache: a gradient of 400 MB
/// (100,000 classes of 1,024 values) is never written (after Lv et al. 2023, "Full Parameter Fine-tuning", LOMO).
#[derive(Debug, Clone)]
pub struct TableUpdate {
    /// Behind a lock: the backward pass writes it.
    pub state: Arc<Mutex<TableMoments>>,
    /// The constants; its number is that of [`TableMoments::updates`].
    pub step: AdamWStep,
}

/// `-ln softmax(s · [cos θ₀, …, margin(cos θ_label), …])[label]` of each row: embeddings `[B, D]` and table
/// `[C · sub_centres, D]`, of which class c owns `sub_centres` rows in a row → `[B]`.
///
/// Neither has to be normalised. A vector of length 0 has cosine 0 with everything, and no gradient. Fails when
/// shapes do not fit together, there is nothing in the batch, a label is not below `C`, or the tensors are not contiguous
/// float32 on the CPU.
pub fn margin_softmax(
    embeddings: &Tensor,
    table: &Tensor,
    labels: &[u32],
    loss: MarginSoftmax,
) -> Result<(Tensor, ClassDiagnostics)> {
    margin_softmax_at(Level::current(), embeddings, table, labels, loss)
}

/// [`margin_softmax`] over a table that its backward pass moves by AdamW, and gives no gradient for: to the bit as
/// [`crate::adamw::adamw`] with that gradient would. Fails as [`margin_softmax`], and where the moments have another size.
pub fn margin_softmax_moving(
    embeddings: &Tensor,
    table: &Tensor,
    labels: &[u32],
    loss: MarginSoftmax,
    update: TableUpdate,
) -> Result<(Tensor, ClassDiagnostics)> {
    crate::adamw::check_moments(table, &lock(&update.state).moments)?;
    streamed(Level::current(), embeddings, table, labels, loss, Some(update))
}

/// [`margin_softmax`] with its products and element-wise passes at a chosen SIMD level.
pub fn margin_softmax_at(
    level: Level,
    embeddings: &Tensor,
    table: &Tensor,
    labels: &[u32],
    loss: MarginSoftmax,
) -> Result<(Tensor, ClassDiagnostics)> {
    streamed(level, embeddings, table, labels, loss, None)
}

fn streamed(
    level: Level,
    embeddings: &Tensor,
    table: &Tensor,
    labels: &[u32],
    loss: MarginSoftmax,
    update: Option<TableUpdate>,
) -> Result<(Tensor, ClassDiagnostics)> {
    let ((rows, size), (table_rows, table_size)) = (embeddings.dims2()?, table.dims2()?);
    let sub_centres = loss.sub_centres;
    let is_empty = rows == 0 || size == 0 || sub_centres == 0;
    if is_empty || size != table_size || labels.len() != rows || table_rows % sub_centres != 0 {
        bail!(
            "margin softmax: {rows} embeddings of {size}, {} labels and a table of {table_rows} x {table_size} with \
             {sub_centres} rows a class do not fit together",
            labels.len()
        );
    }
    let classes = table_rows / sub_centres;
    if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
        bail!("margin softmax: label {label} for {classes} classes");
    }
    let op = Streamed {
        level,
        loss,
        shape: TableShape { rows, size, classes },
        labels: labels.to_vec(),
        seen: Arc::default(),
        inverses: Mutex::default(),
        update,
    };
    let seen = op.seen.clone();
    let losses = embeddings.contiguous()?.apply_op2(&table.contiguous()?, op)?;
    let seen = lock(&seen);
    let diagnostics = ClassDiagnostics { own_cosine: seen.own_cosine.clone(), nearest: seen.nearest.clone() };
    Ok((losses, diagnostics))
}

/// The sine of the largest float32 cosine below 1: what a cosine rounded to 1 is taken for.
const SMALLEST_SINE: f32 = 3.452_67e-4;

impl MarginSoftmax {
    /// The logit of the right class, and its derivative by the cosine.
    fn own_logit(&self, cosine: f32) -> (f32, f32) {
        let (value, slope) = match self.margin {
            Margin::None => (cosine, 1.0),
            Margin::Cosine(margin) => (cosine - margin, 1.0),
            Margin::Angle(margin) => {
                let sine = (1.0 - cosine * cosine).max(0.0).sqrt();
                if cosine > (std::f32::consts::PI - margin).cos() {
                    // d cos(θ + m) / d cos θ = sin(θ + m) / sin θ; at θ = 0 it has no bound.
                    let value = cosine * margin.cos() - sine * margin.sin();
                    (value, margin.cos() + cosine * margin.sin() / sine.max(SMALLEST_SINE))
                } else {
                    (cosine - margin * margin.sin(), 1.0)
                }
            }
        };
        (self.scale * value, self.scale * slope)
    }
}
