//! Steps of the real training loop, each timed.

use std::io::Write as _;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use simcse_bench::experiment::batches::{DropoutViews, Sampler};
use simcse_data::{BatchSampler, LastBatch};
use simcse_losses::{Candidates, InfoNceConfig, Similarity};
use simcse_model::SentenceEncoder;
use simcse_ops::profile;
use simcse_random::Stream;
use simcse_train::health::HealthConfig;
use simcse_train::interrupt::Interrupt;
use simcse_train::objective::{Objective, ViewContrast};
use simcse_train::run_loop::{Observer, StepReport};
use simcse_train::schedule::Schedule;
use simcse_train::{TrainConfig, Trainer};
use statrs::statistics::{Data, OrderStatistics as _};

use crate::peak_memory;

/// How many steps, and of how many sentences.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StepOptions {
    /// Sentences of a batch, each in two views
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,
    /// Steps that are timed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Steps before them that are not
    #[arg(long, value_name = "N", default_value_t = 3)]
    warm_up: u64,
    /// Rows that the encoder sees at a time (gradient cache); without it all of them
    #[arg(long, value_name = "N")]
    gradient_cache_rows: Option<usize>,
    /// Print to standard error where the time went
    #[arg(long)]
    profile: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    sentences_per_second: f64,
    median_step_ms: f64,
    steps_ms: Vec<f64>,
    batch_size: usize,
    mean_tokens: f64,
    /// Floating point operations of the matrix products of a step.
    product_operations: f64,
    peak_memory_mib: Option<u64>,
    last_loss: f64,
}

/// Trains `encoder` on dropout views of each of these sentences; returns the report as JSON. `train` is what
/// [`train_config`] makes of the options.
pub(crate) fn run(
    encoder: &dyn SentenceEncoder,
    sequences: Vec<Vec<u32>>,
    views: usize,
    objective: &mut dyn Objective,
    train: &TrainConfig,
    options: &StepOptions,
) -> Result<String> {
    let stream = Stream::from_seed(1);
    let mean_tokens = sequences.iter().map(Vec::len).sum::<usize>() as f64 / sequences.len() as f64;
    let sampler = BatchSampler::unique(sequences.len(), options.batch_size, LastBatch::Drop, stream)?;
    let batches = DropoutViews::new(sequences, Sampler::Together(sampler), None, stream);
    let folder = tempfile::tempdir()?;
    let trainer = Trainer {
        config: train,
        // A few steps of random weights prove nothing about learning.
        health: &HealthConfig { identical_views_allowed: true, chance_level_steps: 0 },
        stream,
        checkpoint: folder.path().join("checkpoint"),
        fingerprint: String::new(),
        interrupt: Interrupt::default(),
        auxiliary: None,
    };
    profile::enable();
    let mut clock = Clock {
        began: Instant::now(),
        warm_up: options.warm_up,
        milliseconds: Vec::new(),
        last_loss: 0.0,
        peak: None,
    };
    trainer.run(encoder, &mut batches.with_views(views), objective, &mut clock)?;
    let profile = profile::take();
    if options.profile {
        drop(write!(std::io::stderr(), "{profile}"));
    }
    let operations: u64 = profile.kernels.iter().map(|(_, total)| total.operations).sum();
    let median = Data::new(clock.milliseconds.clone()).median();
    Ok(serde_json::to_string(&Report {
        sentences_per_second: options.batch_size as f64 / median * 1e3,
        median_step_ms: median,
        steps_ms: clock.milliseconds,
        batch_size: options.batch_size,
        mean_tokens,
        product_operations: operations as f64 / profile.steps.calls.max(1) as f64,
        peak_memory_mib: clock.peak,
        last_loss: clock.last_loss,
    })?)
}

/// As [`run`] for unsupervised SimCSE: two views, InfoNCE at temperature .05.
pub(crate) fn run_contrast(
    encoder: &dyn SentenceEncoder,
    sequences: Vec<Vec<u32>>,
    learning_rate: f64,
    options: &StepOptions,
) -> Result<String> {
    let loss = InfoNceConfig {
        candidates: Candidates::OtherView,
        symmetric: false,
        similarity: Similarity::Cosine,
        temperature: 0.05,
        margin: None,
        shared_dropout_mask: false,
        hard_negative_weight: None,
        queue: None,
    };
    let mut objective = ViewContrast::new(loss, encoder)?;
    run(encoder, sequences, 2, &mut objective, &train_config(learning_rate, options), options)
}

/// Warm-up and timed steps at this learning rate.
pub(crate) fn train_config(learning_rate: f64, options: &StepOptions) -> TrainConfig {
    TrainConfig {
        batch_size: options.batch_size,
        steps: options.warm_up + options.steps,
        learning_rate,
        schedule: Schedule::Constant,
        warmup_steps: 0,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        max_gradient_norm: 1.0,
        evaluate_every: u64::MAX,
        early_stop_patience: 0,
        checkpoint_every: u64::MAX,
        gradient_cache_rows: options.gradient_cache_rows,
        groups: Vec::new(),
    }
}

/// Reads the time when a step is done; scores nothing.
struct Clock {
    began: Instant,
    warm_up: u64,
    /// Of the steps after the warm-up.
    milliseconds: Vec<f64>,
    last_loss: f64,
    /// Of the steps, without the copy of the best parameters that a score brings.
    peak: Option<u64>,
}

impl Observer for Clock {
    fn evaluate(&mut self, _encoder: &dyn SentenceEncoder, _step: u64) -> Result<f64> {
        self.began = Instant::now();
        Ok(0.0)
    }

    fn on_step(&mut self, report: &StepReport) -> Result<()> {
        if report.step > self.warm_up {
            self.milliseconds.push(1e3 * self.began.elapsed().as_secs_f64());
        }
        self.last_loss = report.loss;
        self.peak = peak_memory();
        if report.step == self.warm_up {
            drop(profile::take());
        }
        self.began = Instant::now();
        Ok(())
    }

    fn on_begin(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }
}
