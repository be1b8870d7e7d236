//! A recorded run opened again: what it was, and what scores pairs as it did.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use simcse_data::PairSet;

use crate::baselines::{Baseline, CharacterJaccard, MeanGivenVectors, MeanRandomVectors};
use crate::config::{RunConfig, read_toml};
use crate::embedder::{EmbeddedSentences, Embedder, load};
use crate::experiment::run::precision;
use crate::record::{Status, Summary};
use crate::tasks::{CHINESE_TASKS, CosineScorer, PairScorer, Scores, evaluate, evaluate_scorer};

/// A run on real data that ended well.
#[derive(Debug)]
pub(crate) struct RecordedRun {
    /// Its record.
    pub(crate) summary: Summary,
    directory: PathBuf,
    /// `None`: a baseline, which has none.
    config: Option<RunConfig>,
}

impl RecordedRun {
    /// Reads the record in a directory.
    ///
    /// Fails when it is broken or was changed, when the run did not end well, or when it was on the bundled sample.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let summary = Summary::read(&directory.join("summary.json"))?;
        let shown = directory.display();
        ensure!(
            summary.status == Status::Ok,
            "{shown}: the run did not end well, and has no figures ({}); fix: run it again",
            summary.reason.as_deref().unwrap_or_default()
        );
        ensure!(
            summary.real_data,
            "{shown}: a run on the bundled sample, whose figures are no results; fix: give a run on real data"
        );
        let config = match Baseline::is_of(&summary) {
            true => None,
            false => {
                let table = read_toml(&directory.join("config.toml"))?;
                Some(RunConfig::from_table(table, &[]).with_context(|| shown.to_string())?)
            }
        };
        Ok(Self { summary, directory: directory.to_owned(), config })
    }

    /// Its configuration; `None` for a baseline.
    pub(crate) fn config(&self) -> Option<&RunConfig> {
        self.config.as_ref()
    }

    /// The tasks it was scored on.
    pub(crate) fn tasks(&self) -> Vec<&str> {
        match &self.config {
            Some(config) => config.evaluation.tasks.iter().map(String::as_str).collect(),
            None => CHINESE_TASKS.to_vec(),
        }
    }

    /// What gave it its scores; `None` when its encoder is not on this machine.
    ///
    /// Fails when the encoder, or the vectors of a baseline, cannot be read.
    pub(crate) fn scorer(&self, model_dir: Option<&Path>) -> Result<Option<RecordedScorer>> {
        let Some(config) = &self.config else {
            return RecordedScorer::of_baseline(&Baseline::of_run(&self.summary, model_dir)?).map(Some);
        };
        let encoder = self.directory.join("encoder");
        if !encoder.is_dir() {
            return Ok(None);
        }
        Ok(Some(RecordedScorer::Encoder(load(&encoder, precision(&config.encoder))?)))
    }
}

/// What scores pairs of sentences.
pub(crate) enum RecordedScorer {
    /// Without embeddings.
    Pairs(Box<dyn PairScorer>),
    /// By the cosine of embeddings.
    Encoder(Box<dyn Embedder>),
}

impl RecordedScorer {
    /// Fails when vectors cannot be read.
    pub(crate) fn of_baseline(baseline: &Baseline) -> Result<Self> {
        Ok(match baseline {
            Baseline::CharacterJaccard => Self::Pairs(Box::new(CharacterJaccard)),
            Baseline::MeanRandomVectors { seed } => Self::Encoder(Box::new(MeanRandomVectors::new(*seed))),
            Baseline::MeanCharacterVectors { path } => Self::Encoder(Box::new(MeanGivenVectors::load(path)?)),
        })
    }

    /// All metrics on these sets, as [`evaluate`] and [`evaluate_scorer`].
    pub(crate) fn evaluate(&self, sets: &[PairSet]) -> Result<Scores> {
        match self {
            Self::Pairs(scorer) => evaluate_scorer(scorer.as_ref(), sets),
            Self::Encoder(embedder) => evaluate(embedder.as_ref(), sets),
        }
    }

    /// One score for each pair of a set.
    pub(crate) fn score(&self, set: &PairSet) -> Result<Vec<f64>> {
        let pairs = set.pairs();
        match self {
            Self::Pairs(scorer) => scorer.score(pairs),
            Self::Encoder(embedder) => {
                let sentences = pairs.iter().flat_map(|pair| [pair.first.as_str(), pair.second.as_str()]);
                let embedded = EmbeddedSentences::new(embedder.as_ref(), sentences)?;
                CosineScorer { embedded: &embedded }.score(pairs)
            }
        }
    }
}
