//! The training loop.

use std::path::PathBuf;
use std::time::Instant;

use candle_core::Tensor;
use simcse_model::{DropoutStream, Mode, SentenceEncoder};
use simcse_ops::gradients::{Gradients, backward};
use simcse_ops::profile;
use simcse_ops::simd::Level;
use simcse_random::Stream;

use crate::auxiliary::Auxiliary;
use crate::checkpoint::{self, Best, State};
use crate::config::TrainConfig;
use crate::gradient_cache::{Forward, accumulate, pieces};
use crate::health::{Health, HealthConfig};
use crate::interrupt::Interrupt;
use crate::objective::{Diagnostics, LossContext, Objective};
use crate::optimizer::AdamW;
use crate::progress::Progress;
use crate::{Result, StepBatch, TrainError};

/// Gives the batch of any step: a function of the step, so that a resumed run sees the same batches.
pub trait BatchSource {
    /// The batch of the step that has `step` steps before it.
    fn batch(&mut self, step: u64) -> anyhow::Result<StepBatch>;
}

/// Follows a run: scores it on dev and writes it down.
pub trait Observer {
    /// The dev score of the encoder as it is; larger is better. Called before the first step (`step` 0),
    /// every `evaluate_every` steps and after the last.
    fn evaluate(&mut self, encoder: &dyn SentenceEncoder, step: u64) -> anyhow::Result<f64>;

    /// One step is done.
    fn on_step(&mut self, report: &StepReport) -> anyhow::Result<()>;

    /// The run begins, or continues after `step` steps: what was written of later steps is void.
    fn on_begin(&mut self, step: u64) -> anyhow::Result<()>;
}

/// What is known after one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Steps done.
    pub step: u64,
    /// Mean loss of the objective, without an auxiliary loss.
    pub loss: f64,
    /// The auxiliary loss before its weight, if there is one.
    pub auxiliary_loss: Option<f64>,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// What the loss saw, at the steps where [`Health::looks_at`] says so.
    pub diagnostics: Option<Diagnostics>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Steps done, fewer than configured after an early stop.
    pub steps: u64,
    /// The selected measurement on dev; its parameters are in the encoder now.
    pub selected: Best,
    /// Seconds spent in steps, without measurements on dev, over all parts of the run.
    pub seconds: f64,
    /// [`Objective::closing_metrics`].
    pub closing_metrics: Vec<(String, f64)>,
}

/// Everything that a run needs beside encoder, batches, loss and observer.
pub struct Trainer<'a> {
    /// The `[train]` section.
    pub config: &'a TrainConfig,
    /// The `[health]` section.
    pub health: &'a HealthConfig,
    /// Root of the run's random streams.
    pub stream: Stream,
    /// Where the checkpoint lies; an existing one is continued.
    pub checkpoint: PathBuf,
    /// Hash of configuration, seed and data.
    pub fingerprint: String,
    /// Raised by Ctrl-C.
    pub interrupt: Interrupt,
    /// A loss to be added to that of the objective.
    pub auxiliary: Option<&'a dyn Auxiliary>,
}

impl Trainer<'_> {
    /// Trains to the end, or to an early stop, and leaves the parameters that were best on dev in the
    /// encoder. Among equal scores the earliest wins; the untrained encoder (step 0) is measured but
    /// cannot be selected unless `steps` is 0.
    ///
    /// Fails on an unhealthy run, and with [`TrainError::Interrupted`] after Ctrl-C, when the checkpoint is
    /// written. The last checkpoint of a finished run stays, so that nothing is lost if its results cannot be
    /// written; [`checkpoint::remove`] it when they are.
    pub fn run(
        &self,
        encoder: &dyn SentenceEncoder,
        batches: &mut dyn BatchSource,
        objective: &mut dyn Objective,
        observer: &mut dyn Observer,
    ) -> Result<Outcome> {
        let mut run = Run::begin(self, encoder, objective)?;
        observer.on_begin(run.state.step)?;
        let mut progress = Progress::new("training", run.state.step, self.config.steps);
        let level = Level::current().name();
        let before = std::mem::replace(&mut run.state.simd, level.to_owned());
        if let Some(warning) = other_level(&before, level) {
            progress.line(&warning);
        }
        if run.state.step == 0 {
            let score = observer.evaluate(encoder, 0)?;
            progress.line(&format!("step 0 (untrained) · dev {score:.4}"));
            if self.config.steps == 0 {
                run.state.best = Some(Best { step: 0, score });
            }
        }
        while run.state.step < self.config.steps && !run.stopped_early() {
            let began = Instant::now();
            let report = run.step(batches)?;
            run.state.seconds += began.elapsed().as_secs_f64();
            observer.on_step(&report)?;
            let step = run.state.step;
            if step.is_multiple_of(self.config.evaluate_every) || step == self.config.steps {
                let score = observer.evaluate(encoder, step)?;
                run.consider(score)?;
                progress.line(&format!("step {step} · loss {:.4} · dev {score:.4}", report.loss));
            }
            progress.set(step, &format!("loss {:.4}", report.loss));
            if self.interrupt.is_raised() {
                run.save()?;
                return Err(TrainError::Interrupted { step });
            }
            if step.is_multiple_of(self.config.checkpoint_every) {
                run.save()?;
            }
        }
        run.finish()
    }
}

/// A run under way.
struct Run<'a> {
    trainer: &'a Trainer<'a>,
    encoder: &'a dyn SentenceEncoder,
    objective: &'a mut dyn Objective,
    optimizer: AdamW,
    state: State,
    best: Option<Vec<Tensor>>,
}

impl<'a> Run<'a> {
    fn begin(
        trainer: &'a Trainer<'a>,
        encoder: &'a dyn SentenceEncoder,
        objective: &'a mut dyn Objective,
    ) -> Result<Self> {
        let mut optimizer = AdamW::new(trainer.config, encoder.parameters())?;
        let (state, best) = if trainer.checkpoint.exists() {
            let parameters = encoder.parameters();
            checkpoint::load(
                &trainer.checkpoint,
                &trainer.fingerprint,
                parameters,
                &mut optimizer,
                objective,
            )?
        } else {
            let state = State {
                fingerprint: trainer.fingerprint.clone(),
                step: 0,
                best: None,
                without_improvement: 0,
                health: Health::new(trainer.health.clone()),
                seconds: 0.0,
                simd: Level::current().name().to_owned(),
            };
            (state, None)
        };
        Ok(Self { trainer, encoder, objective, optimizer, state, best })
    }

    fn step(&mut self, batches: &mut dyn BatchSource) -> Result<StepReport> {
        let Trainer { config, stream, .. } = *self.trainer;
        let done = self.state.step;
        let _step = profile::step();
        let phase = profile::phase("batch");
        let batch = batches.batch(done)?;
        batch.validate()?;
        drop(phase);
        let phase = profile::phase("forward");
        let mode = Mode::Train(DropoutStream::new(stream, done));
        let forward = Forward::new(self.encoder, &batch.tokens, mode, config.gradient_cache_rows)?;
        drop(phase);
        let phase = profile::phase("loss");
        let learning_rate =
            config.learning_rate * config.schedule.factor(done, config.warmup_steps, config.steps);
        let context = LossContext { learning_rate, diagnose: Health::looks_at(done) };
        let step_loss = self.objective.loss(forward.embeddings(), &batch, context)?;
        let loss = f64::from(step_loss.loss.to_scalar::<f32>()?);
        self.state.health.check(done + 1, loss, step_loss.diagnostics.as_ref())?;
        drop(phase);
        let phase = profile::phase("backward");
        let mut gradients = forward.gradients(&step_loss.loss)?;
        drop(phase);
        drop(step_loss.loss); // and with it the graph of the objective, before that of the auxiliary loss
        let phase = profile::phase("auxiliary loss");
        let auxiliary_loss = self.add_auxiliary(&batch, &mut gradients)?;
        drop(phase);
        let phase = profile::phase("optimiser");
        let gradient_norm = self.optimizer.step(&gradients, learning_rate)?;
        self.objective.update(&gradients, learning_rate)?;
        drop(phase);
        drop(gradients);
        self.objective.after_step(self.encoder, &batch)?;
        self.state.step += 1;
        Ok(StepReport {
            step: self.state.step,
            loss,
            auxiliary_loss,
            learning_rate,
            gradient_norm,
            diagnostics: step_loss.diagnostics,
        })
    }

    /// Adds the gradients of weight · auxiliary loss; returns that loss without its weight.
    fn add_auxiliary(&self, batch: &StepBatch, gradients: &mut Gradients) -> Result<Option<f64>> {
        let Some(auxiliary) = self.trainer.auxiliary else { return Ok(None) };
        let (stream, done) = (self.trainer.stream.named("auxiliary"), self.state.step);
        let mut sum = 0.0;
        for anchors in pieces(batch.sentences, self.trainer.config.gradient_cache_rows) {
            let Some(loss) = auxiliary.loss(batch, anchors, stream, done)? else { continue };
            sum += f64::from(loss.to_scalar::<f32>()?);
            if !sum.is_finite() {
                let finding = format!(
                    "the auxiliary loss is {sum}: lower the learning rate; the last checkpoint is intact"
                );
                return Err(TrainError::Unhealthy { step: done + 1, finding });
            }
            let of_piece = backward(&(loss * auxiliary.weight())?)?;
            accumulate(gradients, of_piece, self.encoder.parameters())?;
        }
        Ok(Some(sum))
    }

    fn consider(&mut self, score: f64) -> Result<()> {
        if !score.is_finite() {
            let finding =
                format!("the dev score is {score}: all embeddings may be alike, or one is not finite");
            return Err(TrainError::Unhealthy { step: self.state.step, finding });
        }
        if self.state.best.is_none_or(|best| score > best.score) {
            self.state.best = Some(Best { step: self.state.step, score });
            self.best = Some(self.encoder.parameters().snapshot()?);
            self.state.without_improvement = 0;
        } else {
            self.state.without_improvement += 1;
        }
        Ok(())
    }

    fn stopped_early(&self) -> bool {
        let patience = self.trainer.config.early_stop_patience;
        patience > 0 && self.state.without_improvement >= patience
    }

    fn save(&self) -> Result<()> {
        let path = &self.trainer.checkpoint;
        let (parameters, best) = (self.encoder.parameters(), self.best.as_deref());
        checkpoint::save(path, &self.state, parameters, best, &self.optimizer, self.objective)
    }

    fn finish(self) -> Result<Outcome> {
        let closing_metrics = self.objective.closing_metrics(self.encoder)?;
        if let Some(best) = &self.best {
            self.encoder.parameters().restore(best)?;
        }
        let selected = self.state.best.ok_or_else(|| anyhow::anyhow!("no measurement on dev was made"))?;
        Ok(Outcome { steps: self.state.step, selected, seconds: self.state.seconds, closing_metrics })
    }
}

/// What is to be said where a run goes on at another SIMD level than before.
fn other_level(before: &str, now: &str) -> Option<String> {
    (before != now).then(|| {
        format!(
            "warning: the checkpoint was computed at SIMD level {before}, and the run goes on at {now}: its figures will not be \
             those of an unbroken run; fix: set SIMCSE_SIMD={before}, on a machine that has it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_simd_level_is_said() {
        assert_eq!(other_level("avx2", "avx2"), None);
        let warning = other_level("avx512", "amx").unwrap_or_default();
        assert!(warning.contains("at amx") && warning.contains("SIMCSE_SIMD=avx512"), "{warning}");
    }
}
