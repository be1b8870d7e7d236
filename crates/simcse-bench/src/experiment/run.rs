//! One run, from the seed to `summary.json`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use simcse_data::{Augmenter, BatchSampler, DataSource, LastBatch, PartitionedSampler, TokenMasker};
use simcse_losses::LossConfig;
use simcse_ops::linear::Precision;
use simcse_random::Stream;
use simcse_train::auxiliary::Auxiliary;
use simcse_train::interrupt::Interrupt;
use simcse_train::masked_language::MaskedLanguage;
use simcse_train::objective::{BatchClasses, Cosent, Objective, TripletContrast, ViewContrast};
use simcse_train::run_loop::Outcome as Trained;
use simcse_train::{BatchSource, TrainError, Trainer, checkpoint};

use super::batches::{DropoutViews, LabelledBatches, Sampler, SentenceAugmenter};
use super::classes;
use super::follow::Follower;
use super::one_line;
use super::prepare::Prepared;
use super::start::Start;
use super::teacher;
use crate::config::{EncoderConfig, MaskedLanguageConfig, RunConfig, TrainingText, WhiteningConfig};
use crate::embedding_cache::KeptEmbeddings;
use crate::record::{
    Outcome, RunIdentity, Status, Summary, config_sha256, files_sha256, finished_run, without_origins,
};
use crate::tasks::{evaluate, evaluation_hashes};

/// Where a run reads and writes.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The results folder.
    pub results: PathBuf,
    /// Where data is looked for.
    pub source: DataSource,
    /// Where vectors and weights are looked for.
    pub model_dir: Option<PathBuf>,
    /// Raised by Ctrl-C.
    pub interrupt: Interrupt,
    /// Whether a run that ended well before is run again.
    pub again: bool,
    /// Where embeddings of encoders that are not trained are kept; `None`: nowhere.
    pub cache: Option<PathBuf>,
    /// Whether encoders are left beside their records.
    pub save_encoders: bool,
}

impl RunOptions {
    /// The summary of this run if it ended well before on real data with the same configuration, by its record alone: the data
    /// is not looked at, so this costs nothing.
    pub(super) fn recorded(&self, config: &RunConfig) -> Result<Option<Summary>> {
        let found = finished_run(&self.results, &config.experiment, &config.name, config.seed)?;
        let sha256 = config_sha256(&config.to_toml()?)?;
        // A run on the bundled sample is in nobody's way: real data may be there by now.
        let is_it = |summary: &Summary| {
            summary.status == Status::Ok && summary.real_data && summary.config_sha256 == sha256
        };
        Ok(found.filter(is_it))
    }

    /// The summary of this run if it ended well before, with the same configuration and data.
    ///
    /// Fails when a run of this name and seed ended well with others: it would be lost. `again` allows that,
    /// but never that a run on the bundled sample replaces one on real data.
    fn finished(&self, config_toml: &str, identity: &RunIdentity) -> Result<Option<Summary>> {
        let found = finished_run(&self.results, &identity.experiment, &identity.config, identity.seed);
        // What is to be run again may be broken.
        let found = if self.again { found.ok().flatten() } else { found? };
        let Some(summary) = found.filter(|summary| summary.status == Status::Ok) else { return Ok(None) };
        let same_config = summary.config_sha256 == config_sha256(config_toml)?;
        let same_data = summary.data_sha256 == identity.data_sha256;
        let folder = identity.directory(&self.results);
        ensure!(
            identity.real_data || !summary.real_data,
            "{}: holds a run on real data, and this one would use the bundled sample; fix: give --data-dir, or \
             another --out",
            folder.display()
        );
        if self.again {
            return Ok(None);
        }
        ensure!(
            same_config && same_data,
            "{}: holds a finished run with {}; fix: give --again to replace it, or another --out or name",
            folder.display(),
            if same_config { "other data" } else { "another configuration" }
        );
        Ok(Some(summary))
    }

    /// Trains, selects on dev, scores on dev and test and records; a checkpoint of the same run is continued,
    /// and of a run that ended well before the record is returned.
    ///
    /// `say` gets lines for the user. A run that fails after its first evaluation began is recorded with its
    /// reason; the error is returned in any case.
    pub fn run(&self, config: &RunConfig, say: &dyn Fn(&str)) -> Result<Summary> {
        let prepared = Prepared::new(config, self)?;
        let (identity, config_toml) = (identity(config, &prepared), config.to_toml()?);
        if let Some(summary) = self.finished(&config_toml, &identity)? {
            return Ok(summary);
        }
        prepared.remarks.iter().for_each(|line| say(line));
        let encoder = prepared.start.encoder.encoder.as_dyn();
        say(&format!(
            "{} parameters, embeddings of {}",
            encoder.parameters().element_count(),
            encoder.embedding_size()
        ));
        let data = prepared.record()?;
        let mut follower = Follower {
            results: &self.results,
            identity: &identity,
            config_toml: &config_toml,
            data: &data,
            selection: &prepared.selection,
            encoder: &prepared.start.encoder,
            directory: None,
            step: 0,
        };
        let result = self.train(config, &prepared, &mut follower);
        let (step, mut directory) = (follower.step, follower.directory);
        let result = result.and_then(|trained| self.score(config, prepared, &identity, &trained));
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => {
                if let Some(directory) = directory.take() {
                    // On a full disk this fails as well; what failed first is what the user must know.
                    drop(directory.finish(unfinished(&error, step)));
                }
                return Err(error);
            }
        };
        let directory = directory.context("the run did not begin")?;
        let summary = directory.finish(outcome)?;
        // Only now: until the results are on disk, the checkpoint is all there is of the training.
        checkpoint::remove(&self.checkpoint(&identity))?;
        Ok(summary)
    }

    fn checkpoint(&self, identity: &RunIdentity) -> PathBuf {
        identity.directory(&self.results).join("checkpoint.safetensors")
    }

    fn train(&self, config: &RunConfig, prepared: &Prepared, follower: &mut Follower) -> Result<Trained> {
        let stream = Stream::from_seed(config.seed);
        let start = &prepared.start;
        let auxiliary = masked_language(config, start)?;
        let trainer = Trainer {
            config: &config.train,
            health: &config.health,
            stream,
            checkpoint: self.checkpoint(follower.identity),
            fingerprint: fingerprint(config, follower.data)?,
            interrupt: self.interrupt.clone(),
            auxiliary: auxiliary.as_ref().map(|auxiliary| auxiliary as &dyn Auxiliary),
        };
        let encoder = start.encoder.encoder.as_dyn();
        let mut objective = objective(config, prepared, stream)?;
        let mut batches = batches(config, prepared, stream)?;
        Ok(trainer.run(encoder, batches.as_mut(), objective.as_mut(), follower)?)
    }

    /// What is saved is what is scored, whitening included.
    fn score(
        &self,
        config: &RunConfig,
        prepared: Prepared,
        identity: &RunIdentity,
        trained: &Trained,
    ) -> Result<Outcome> {
        let mut encoder = prepared.start.encoder;
        let cache = self.cache.as_deref().filter(|_| trained.steps == 0);
        let kept = cache.map(|cache| KeptEmbeddings::of(&encoder, cache)).transpose()?;
        if let Some(WhiteningConfig { sentences, kept: directions }) = &config.evaluation.whitening {
            let corpus = prepared.corpus.as_strs();
            encoder.fit_whitening(&corpus[..corpus.len().min(*sentences)], *directions)?;
        }
        let mut metrics = match &kept {
            Some(kept) => evaluate(&kept.embedder(&encoder), &prepared.evaluation)?,
            None => evaluate(&encoder, &prepared.evaluation)?,
        };
        metrics.extend(trained.closing_metrics.iter().cloned());
        if self.save_encoders {
            encoder.save(&identity.directory(&self.results).join("encoder"))?;
        }
        let sentences = trained.steps as f64 * config.train.batch_size as f64;
        let rate = if trained.seconds > 0.0 { sentences / trained.seconds } else { 0.0 };
        Ok(Outcome::ok(metrics, trained.selected.step, trained.steps, rate))
    }
}

/// The loss of the configuration for its kind of text.
fn objective(config: &RunConfig, prepared: &Prepared, stream: Stream) -> Result<Box<dyn Objective>> {
    let encoder = prepared.start.encoder.encoder.as_dyn();
    Ok(match (&config.loss, config.data.text()) {
        (LossConfig::InfoNce(contrast), Some((TrainingText::Triplets, _))) => {
            Box::new(TripletContrast::new(contrast.clone())?)
        }
        (LossConfig::InfoNce(contrast), _) => Box::new(ViewContrast::new(contrast.clone(), encoder)?),
        (LossConfig::Cosent(cosent), _) => Box::new(Cosent { config: cosent.clone() }),
        (LossConfig::MarginSoftmax(margin), _) => {
            Box::new(classes::objective(margin, config, prepared, stream.named("classes"))?)
        }
        (LossConfig::BatchCentres(classes), _) => Box::new(BatchClasses::new(classes.clone())?),
        (LossConfig::Distillation(distillation), _) => {
            Box::new(teacher::objective(distillation, config, prepared, stream.named("distillation"))?)
        }
    })
}

/// Masked language modelling, where the configuration asks for it.
fn masked_language<'a>(config: &RunConfig, start: &'a Start) -> Result<Option<MaskedLanguage<'a>>> {
    let (Some(MaskedLanguageConfig { weight, rate }), Some(encoder)) =
        (&config.masked_language, start.transformer())
    else {
        return Ok(None);
    };
    let masker = TokenMasker::for_tokenizer(*rate, &start.encoder.tokenizer)?;
    Ok(Some(MaskedLanguage::new(encoder, masker, *weight)?))
}

fn batches(config: &RunConfig, prepared: &Prepared, stream: Stream) -> Result<Box<dyn BatchSource>> {
    let sequences = prepared.tokenized.sequences.clone();
    let (size, order) = (config.train.batch_size, stream.named("batches"));
    if let Some(examples) = &prepared.examples {
        let sampler = LabelledBatches::sampler(examples, size, order)?;
        return Ok(Box::new(LabelledBatches::new(sequences, examples.clone(), sampler)));
    }
    let sampler = if config.data.batches_of_one_source {
        let source_of = &prepared.corpus.source_of;
        Sampler::BySource(PartitionedSampler::new(source_of, size, LastBatch::Keep, order)?)
    } else {
        Sampler::Together(BatchSampler::unique(sequences.len(), size, LastBatch::Keep, order)?)
    };
    let augmenter = match config.augmentation.is_off() {
        true => None,
        false => {
            let tokenizer = prepared.start.encoder.tokenizer.as_dyn();
            let prefix = prepared.start.prefix_ids();
            let most_tokens = config.data.most_train_tokens().saturating_sub(prefix.len());
            let augmenter = Augmenter::for_tokenizer(config.augmentation, tokenizer, most_tokens)?;
            Some(SentenceAugmenter::new(augmenter, prefix))
        }
    };
    let views = match &config.loss {
        LossConfig::MarginSoftmax(margin) => margin.views,
        LossConfig::BatchCentres(classes) => classes.views,
        LossConfig::InfoNce(contrast) if contrast.shared_dropout_mask => 1,
        LossConfig::InfoNce(_) | LossConfig::Cosent(_) => 2,
        // The teacher's word is the other view.
        LossConfig::Distillation(_) => 1,
    };
    Ok(Box::new(DropoutViews::new(sequences, sampler, augmenter, stream).with_views(views)))
}

fn identity(config: &RunConfig, prepared: &Prepared) -> RunIdentity {
    RunIdentity {
        experiment: config.experiment.clone(),
        config: config.name.clone(),
        label: config.label.clone(),
        group: config.group.clone(),
        seed: config.seed,
        precision: precision(&config.encoder).name().to_owned(),
        transductive: config.data.transductive,
        real_data: prepared.is_real(),
        data_sha256: files_sha256(prepared.files()),
        evaluation_sha256: evaluation_hashes(&prepared.evaluation),
    }
}

/// What an encoder's products are computed in.
pub(crate) fn precision(encoder: &EncoderConfig) -> Precision {
    match encoder {
        EncoderConfig::TextCnn(_) => Precision::Float32,
        EncoderConfig::Transformer(section) => section.precision,
    }
}

/// Hash of everything that a checkpoint must agree with.
fn fingerprint(config: &RunConfig, data: &Value) -> Result<String> {
    let data = without_origins(data.clone());
    let text = format!("{}\n{}", config.to_toml()?, serde_json::to_string(&data)?);
    Ok(crate::record::sha256_hex(text.as_bytes()))
}

fn unfinished(error: &anyhow::Error, step: u64) -> Outcome {
    match error.downcast_ref::<TrainError>() {
        Some(TrainError::Interrupted { step }) => Outcome::stopped("stopped by Ctrl-C", *step),
        _ => Outcome::failed(one_line(error), step),
    }
}
