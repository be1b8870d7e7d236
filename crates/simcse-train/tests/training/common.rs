//! A tiny TextCNN, synthetic batches and an observer whose dev scores are written by the test.

use std::path::Path;

use candle_core::Tensor;
use rand::RngExt as _;
use simcse_data::TokenBatch;
use simcse_losses::{Candidates, InfoNceConfig, QueueConfig, Similarity};
use simcse_model::{SentenceEncoder, TextCnn, TextCnnConfig};
use simcse_random::Stream;
use simcse_train::config::TrainConfig;
use simcse_train::health::HealthConfig;
use simcse_train::interrupt::Interrupt;
use simcse_train::objective::{Objective, ViewContrast};
use simcse_train::run_loop::{Observer, StepReport};
use simcse_train::schedule::Schedule;
use simcse_train::{BatchSource, Outcome, Result, StepBatch, Trainer};

const VOCABULARY: u32 = 50;

/// Everything about training that a test may change.
pub(crate) struct Setting {
    pub(crate) train: TrainConfig,
    pub(crate) health: HealthConfig,
    pub(crate) seed: u64,
    pub(crate) temperature: f64,
    pub(crate) queue: Option<QueueConfig>,
    pub(crate) fingerprint: &'static str,
}

/// Thirteen steps with warm-up, decay, clipping and a linear schedule: all that a resumed run must repeat.
pub(crate) fn setting() -> Setting {
    Setting {
        train: TrainConfig {
            batch_size: 6,
            steps: 13,
            learning_rate: 1e-2,
            schedule: Schedule::Linear,
            warmup_steps: 3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_gradient_norm: 1.0,
            evaluate_every: 3,
            early_stop_patience: 0,
            checkpoint_every: 4,
            gradient_cache_rows: None,
            groups: Vec::new(),
        },
        health: HealthConfig { identical_views_allowed: false, chance_level_steps: 0 },
        seed: 7,
        temperature: 0.05,
        queue: None,
        fingerprint: "this run",
    }
}

/// A TextCNN with fresh parameters of this seed, dropout of rate `dropout` at both sites.
pub(crate) fn network(seed: u64, dropout: f64) -> TextCnn {
    let config = TextCnnConfig {
        embedding_size: 8,
        widths: vec![1, 2, 3],
        maps: 5,
        embedding_dropout: dropout,
        output_dropout: dropout,
        projection_size: Some(12),
    };
    TextCnn::new(config, VOCABULARY as usize, Stream::from_seed(seed).named("initial")).unwrap()
}

/// Random sentences, a function of (seed, step) as the contract of [`BatchSource`] wants it.
pub(crate) struct Sentences {
    pub(crate) seed: u64,
    pub(crate) batch_size: usize,
}

impl BatchSource for Sentences {
    fn batch(&mut self, step: u64) -> anyhow::Result<StepBatch> {
        let mut rng = Stream::from_seed(self.seed).named("sentences").fold(step).rng();
        let sentence = |_| -> Vec<u32> {
            let length = rng.random_range(2..9);
            (0..length).map(|_| rng.random_range(2..VOCABULARY)).collect()
        };
        let sequences: Vec<Vec<u32>> = (0..self.batch_size).map(sentence).collect();
        let tokens = TokenBatch::from_sequences(&sequences)?.with_views(2)?;
        Ok(views(tokens))
    }
}

/// The batch of step 0 whatever the step: what can be learnt of it by heart must be learnt.
pub(crate) struct SameBatch<S>(pub(crate) S);

impl<S: BatchSource> BatchSource for SameBatch<S> {
    fn batch(&mut self, _: u64) -> anyhow::Result<StepBatch> {
        self.0.batch(0)
    }
}

/// Batches of four of twelve sentences, each in so many views.
pub(crate) struct Twelve {
    pub(crate) views: usize,
}

impl BatchSource for Twelve {
    fn batch(&mut self, step: u64) -> anyhow::Result<StepBatch> {
        let sentences: Vec<u32> = (0..4).map(|place| ((step * 4 + place) % 12) as u32).collect();
        let ids = |sentence: &u32| vec![2 + sentence, 3 + sentence * 2 % 11, 5 + sentence % 7];
        let sequences: Vec<Vec<u32>> = sentences.iter().map(ids).collect();
        Ok(StepBatch {
            tokens: TokenBatch::from_sequences(&sequences)?.with_views(self.views)?,
            sentences: 4,
            views: self.views,
            groups: sentences.repeat(self.views),
            hard_negative_owners: Vec::new(),
            gold: Vec::new(),
        })
    }
}

/// A step of two equal views of different sentences.
pub(crate) fn views(tokens: TokenBatch) -> StepBatch {
    let sentences = tokens.rows() / 2;
    let groups: Vec<u32> = (0..sentences as u32).collect();
    StepBatch {
        tokens,
        sentences,
        views: 2,
        groups: groups.repeat(2),
        hard_negative_owners: Vec::new(),
        gold: Vec::new(),
    }
}

/// What ends a run from outside.
pub(crate) enum End {
    /// Nothing.
    Never,
    /// Ctrl-C during this step: the run writes a checkpoint.
    Interrupt(u64),
    /// The process dies after this step: nothing is written any more.
    Crash(u64),
}

/// Notes what happens; its dev scores are a function of the step, so that a test knows what is best.
pub(crate) struct Script {
    pub(crate) score: fn(u64) -> f64,
    pub(crate) end: End,
    pub(crate) interrupt: Interrupt,
    pub(crate) begun: Option<u64>,
    pub(crate) reports: Vec<StepReport>,
    /// Step and parameters of every measurement on dev.
    pub(crate) measured: Vec<(u64, Vec<u32>)>,
}

impl Script {
    pub(crate) fn new(score: fn(u64) -> f64, end: End) -> Self {
        let interrupt = Interrupt::default();
        Self { score, end, interrupt, begun: None, reports: Vec::new(), measured: Vec::new() }
    }

    /// Step and bits of loss and gradient norm of every step.
    pub(crate) fn trace(&self) -> Vec<(u64, u64, u64)> {
        let bits = |r: &StepReport| (r.step, r.loss.to_bits(), r.gradient_norm.to_bits());
        self.reports.iter().map(bits).collect()
    }
}

impl Observer for Script {
    fn on_begin(&mut self, step: u64) -> anyhow::Result<()> {
        self.begun = Some(step);
        Ok(())
    }

    fn evaluate(&mut self, encoder: &dyn SentenceEncoder, step: u64) -> anyhow::Result<f64> {
        self.measured.push((step, bits(encoder)));
        Ok((self.score)(step))
    }

    fn on_step(&mut self, report: &StepReport) -> anyhow::Result<()> {
        self.reports.push(*report);
        match self.end {
            End::Interrupt(step) if step == report.step => self.interrupt.raise(),
            End::Crash(step) if step == report.step => anyhow::bail!("the process died"),
            _ => {}
        }
        Ok(())
    }
}

/// Runs `encoder` on random sentences with InfoNCE, with its checkpoint in `folder`.
pub(crate) fn train(
    setting: &Setting,
    encoder: &dyn SentenceEncoder,
    folder: &Path,
    script: &mut Script,
) -> Result<Outcome> {
    train_with(setting, encoder, &mut info_nce(setting, encoder), folder, script)
}

/// [`train`] with an objective of the test.
pub(crate) fn train_with(
    setting: &Setting,
    encoder: &dyn SentenceEncoder,
    objective: &mut dyn Objective,
    folder: &Path,
    script: &mut Script,
) -> Result<Outcome> {
    trainer(setting, folder, script).run(encoder, &mut sentences(setting), objective, script)
}

/// A trainer that `script` can interrupt.
pub(crate) fn trainer<'a>(setting: &'a Setting, folder: &Path, script: &Script) -> Trainer<'a> {
    Trainer {
        config: &setting.train,
        health: &setting.health,
        stream: Stream::from_seed(setting.seed),
        checkpoint: folder.join("checkpoint.safetensors"),
        fingerprint: setting.fingerprint.to_owned(),
        interrupt: script.interrupt.clone(),
        auxiliary: None,
    }
}

pub(crate) fn sentences(setting: &Setting) -> Sentences {
    Sentences { seed: setting.seed, batch_size: setting.train.batch_size }
}

pub(crate) fn info_nce(setting: &Setting, encoder: &dyn SentenceEncoder) -> ViewContrast {
    ViewContrast::new(info_nce_config(setting), encoder).unwrap()
}

pub(crate) fn info_nce_config(setting: &Setting) -> InfoNceConfig {
    InfoNceConfig {
        candidates: Candidates::OtherView,
        symmetric: false,
        similarity: Similarity::Cosine,
        temperature: setting.temperature,
        margin: None,
        shared_dropout_mask: false,
        hard_negative_weight: None,
        queue: setting.queue.clone(),
    }
}

/// The bits of all parameters, in the order of their names.
pub(crate) fn bits(encoder: &dyn SentenceEncoder) -> Vec<u32> {
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    encoder.parameters().iter().flat_map(|(_, var)| values(var)).map(f32::to_bits).collect()
}

/// A dev score that rises to the end.
pub(crate) fn rising(step: u64) -> f64 {
    step as f64
}
