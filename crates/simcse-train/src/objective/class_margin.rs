//! Sentences as classes: margin softmax over a table of centres.

use std::sync::Mutex;

use candle_core::Tensor;
use simcse_data::TokenBatch;
use simcse_losses::{LossError, MarginSoftmaxConfig};
use simcse_model::{DropoutStream, Mode, SentenceEncoder};
use simcse_ops::adamw::AdamWStep;
use simcse_ops::gradients::Gradients;
use simcse_random::Stream;

use super::{Diagnostics, LossContext, Objective, StepLoss, check_views};
use crate::class_table::{ClassTable, SampledClasses};
use crate::own_parameter;
use crate::{Result, StepBatch, TrainConfig};

/// Every view of a sentence has to find the sentence's own class among all classes, or a sample of them.
pub struct ClassMargin {
    config: MarginSoftmaxConfig,
    table: ClassTable,
    /// The class of each sentence, by its group in a batch.
    class_of: Vec<u32>,
    stream: Stream,
    constants: AdamWStep,
    /// Of the step under way, between its loss and its update: its classes, and its embeddings without their graph.
    sampled: Mutex<Option<(SampledClasses, Tensor)>>,
    probe: Vec<(Vec<u32>, u32)>,
}

/// Sentences of the probe that are embedded at a time.
const PROBE_ROWS: usize = 64;

impl ClassMargin {
    /// `table`: the centres before the first step; `class_of`: the class of each sentence of the corpus; `train` has
    /// AdamW's constants for the centres as well.
    ///
    /// Fails on a value out of range, and on a sentence whose class the table lacks.
    pub fn new(
        config: MarginSoftmaxConfig,
        table: ClassTable,
        class_of: Vec<u32>,
        train: &TrainConfig,
        stream: Stream,
    ) -> Result<Self> {
        config.validate()?;
        if let Some(class) = class_of.iter().find(|class| **class as usize >= table.classes()) {
            return Err(anyhow::anyhow!("class {class} in a table of {} classes", table.classes()).into());
        }
        let constants = own_parameter::constants(train);
        Ok(Self { config, table, class_of, stream, constants, sampled: Mutex::new(None), probe: Vec::new() })
    }

    /// Sentences as token ids, each with its class: at the end the share of them whose nearest centre among all classes
    /// is their own is measured, as `class_accuracy` and, with dropout on, as `class_accuracy_dropout`.
    #[must_use]
    pub fn with_probe(self, probe: Vec<(Vec<u32>, u32)>) -> Self {
        Self { probe, ..self }
    }

    /// Share of the probe whose nearest centre is that of its class; `mode` is asked for each piece of it.
    fn accuracy(&self, encoder: &dyn SentenceEncoder, mode: impl Fn(u64) -> Mode) -> Result<f64> {
        let mut right = 0;
        for (number, piece) in self.probe.chunks(PROBE_ROWS).enumerate() {
            let sequences: Vec<&[u32]> = piece.iter().map(|(sequence, _)| sequence.as_slice()).collect();
            let batch = TokenBatch::from_sequences(&sequences)?;
            let nearest = self.table.nearest(&encoder.forward(&batch, mode(number as u64))?)?;
            right += nearest.iter().zip(piece).filter(|(nearest, (_, own))| *nearest == own).count();
        }
        Ok(right as f64 / self.probe.len() as f64)
    }

    /// The update of the centres at a learning rate of the encoder.
    fn adamw(&self, learning_rate: f64) -> AdamWStep {
        AdamWStep { learning_rate: learning_rate * self.config.class_learning_rate_factor, ..self.constants }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<(SampledClasses, Tensor)>> {
        self.sampled.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Objective for ClassMargin {
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch, context: LossContext) -> Result<StepLoss> {
        check_views(batch, self.config.views, "give it as many")?;
        let class = |group: &u32| self.class_of.get(*group as usize).copied();
        let labels: Option<Vec<u32>> = batch.groups.iter().map(class).collect();
        let Some(labels) = labels else {
            let problem = "a sentence of the batch has no class; fix: train on unlabelled sentences";
            return Err(LossError::Embeddings(problem.to_owned()).into());
        };
        let stream = self.stream.fold(self.table.steps());
        let sampled = self.table.sample(&labels, self.config.sampled_share, stream)?;
        let adamw = self.adamw(context.learning_rate);
        let (losses, seen) =
            self.table.loss(embeddings, &sampled, self.config.kernel(), self.config.class_update, adamw)?;
        let rows = labels.len() as f64;
        let right = seen.nearest.iter().zip(&sampled.labels).filter(|(nearest, own)| nearest == own).count();
        let own: f64 = seen.own_cosine.iter().map(|cosine| f64::from(*cosine)).sum();
        *self.held() = Some((sampled, embeddings.detach()));
        let diagnostics = context.diagnose.then(|| Diagnostics {
            positive_cosine: Some(own / rows),
            negative_cosine: None,
            accuracy: Some(right as f64 / rows),
            chance_loss: None,
        });
        Ok(StepLoss { loss: losses.mean_all()?, diagnostics })
    }

    fn update(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let Some((sampled, embeddings)) = self.held().take() else { return Ok(()) };
        if let Some(momentum) = self.config.class_momentum {
            return self.table.average(&sampled, &embeddings, momentum);
        }
        let step = self.adamw(learning_rate);
        self.table.update(&sampled, gradients, self.config.class_update, step)
    }

    fn closing_metrics(&self, encoder: &dyn SentenceEncoder) -> Result<Vec<(String, f64)>> {
        if self.probe.is_empty() {
            return Ok(Vec::new());
        }
        let stream = self.stream.named("probe");
        let with_dropout = |piece| Mode::Train(DropoutStream::new(stream, piece));
        Ok(vec![
            ("class_accuracy".to_owned(), self.accuracy(encoder, |_| Mode::Evaluate)?),
            ("class_accuracy_dropout".to_owned(), self.accuracy(encoder, with_dropout)?),
        ])
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.table.state()
    }

    fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        self.table.restore(state)
    }
}
