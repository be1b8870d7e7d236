//! The encoder that a student follows, and what it says of the training text.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use simcse_data::FileRecord;
use simcse_losses::DistillationConfig;
use simcse_model::SavedEncoder;
use simcse_random::Stream;
use simcse_train::objective::Distillation;

use super::RunOptions;
use super::prepare::Prepared;
use crate::config::{RunConfig, TeacherConfig};
use crate::embedder::{EmbeddedSentences, Embedder};
use crate::embedding_cache::{KeptEmbeddings, files_below};
use crate::pretrained::Pretrained;

/// A loaded teacher, and where it came from.
#[derive(Debug)]
pub struct Teacher {
    encoder: SavedEncoder,
    /// Its embeddings on disk, whitening apart.
    kept: Option<KeptEmbeddings>,
    /// Its files.
    pub files: Vec<FileRecord>,
    /// What `data.json` says of it.
    pub record: Value,
}

impl Teacher {
    /// Finds and loads the teacher of a configuration, and fits its whitening on `sentences`, the training text.
    ///
    /// Fails when it is missing or broken, and when a run that it names left no encoder.
    pub fn load(config: &TeacherConfig, options: &RunOptions, sentences: &[&str]) -> Result<Self> {
        let (mut encoder, files, record) = match &config.checkpoint {
            Some(section) => {
                let loaded = Pretrained::raw(section, None, options.model_dir.as_deref())?;
                let record = loaded.record();
                (loaded.encoder, loaded.found.records, record)
            }
            None => trained(config.encoder.as_deref().unwrap_or_default(), &options.results)?,
        };
        let cache = options.cache.as_deref();
        let kept = cache.map(|cache| KeptEmbeddings::of(&encoder, cache)).transpose()?;
        if let Some(section) = &config.whitening {
            encoder.fit_whitening(&sentences[..sentences.len().min(section.sentences)], section.kept)?;
        }
        Ok(Self { encoder, kept, files, record })
    }

    /// Its embeddings of sentences, `[N, E]`: computed once and kept.
    fn embeddings(&self, sentences: &[&str]) -> Result<Tensor> {
        let size = Embedder::embedding_size(&self.encoder);
        let embedded = match &self.kept {
            Some(kept) => EmbeddedSentences::new(&kept.embedder(&self.encoder), sentences.iter().copied())?,
            None => EmbeddedSentences::new(&self.encoder, sentences.iter().copied())?,
        };
        let mut values = Vec::with_capacity(sentences.len() * size);
        for sentence in sentences {
            values.extend_from_slice(embedded.get(sentence)?);
        }
        Ok(Tensor::from_vec(values, (sentences.len(), size), &Device::Cpu)?)
    }
}

/// The encoder of a run or of a directory.
fn trained(name: &str, results: &Path) -> Result<(SavedEncoder, Vec<FileRecord>, Value)> {
    let places = [PathBuf::from(name), results.join("runs").join(name).join("encoder")];
    let Some(folder) = places.iter().find(|place| place.is_dir()) else {
        anyhow::bail!(
            "teacher.encoder = {name:?}: neither a folder nor a run with an encoder below {}; fix: train it first, or \
             name its directory",
            results.display()
        );
    };
    let files = records(folder, name)?;
    let record = json!({ "origin": name, "files": files });
    Ok((SavedEncoder::load(folder)?, files, record))
}

/// The files of an encoder directory, those of its modules among them.
fn records(folder: &Path, name: &str) -> Result<Vec<FileRecord>> {
    let paths = files_below(folder)?;
    ensure!(!paths.is_empty(), "{}: empty; fix: name the directory of a trained encoder", folder.display());
    let record = |path: &PathBuf| {
        let file = path.strip_prefix(folder).unwrap_or(path).display();
        Ok(FileRecord::of_file(path, format!("{name}/{file}"), 0)?)
    };
    paths.iter().map(record).collect()
}

/// The loss of a student over the sentences of the corpus.
pub(super) fn objective(
    distillation: &DistillationConfig,
    config: &RunConfig,
    prepared: &Prepared,
    stream: Stream,
) -> Result<Distillation> {
    let teacher = prepared.teacher.as_ref().context("distillation without a teacher")?;
    // A network that is scored as it begins asks its teacher nothing.
    let sentences = if config.train.steps == 0 { Vec::new() } else { prepared.corpus.as_strs() };
    let embeddings = teacher.embeddings(&sentences)?;
    let size = prepared.start.encoder.encoder.as_dyn().embedding_size();
    Ok(Distillation::new(distillation.clone(), embeddings, size, &config.train, stream)?)
}
