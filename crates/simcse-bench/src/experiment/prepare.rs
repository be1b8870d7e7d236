//! What a run needs before its first step: corpus, vocabulary, token ids, evaluation sets.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use simcse_data::{
    Corpus, CorpusConfig, DataError, DataManifest, DataSource, FileRecord, PairSet, SentenceTokenizer as _,
    SourceName, Split, Tokenized, Vocabulary, load_pairs, load_sentences,
};
use simcse_model::{SentenceEncoder as _, TextCnn, vectors::TokenVectors};
use simcse_random::Stream;

use crate::config::{EncoderConfig, RunConfig, TextCnnSection};
use crate::record::sha256_hex;
use crate::tasks::load_task_sets;

/// Splits on which a finished run is scored. Train splits are training text, and partial or absent in most copies.
const SCORED: [Split; 2] = [Split::Dev, Split::Test];
/// The name of the bundled sample in the catalogue.
const SAMPLE: &str = "sample";

/// Text and evaluation sets of a run.
#[derive(Debug)]
pub struct Prepared {
    /// Training text.
    pub corpus: Corpus,
    /// Built from the training text.
    pub vocabulary: Vocabulary,
    /// The corpus as token ids.
    pub tokenized: Tokenized,
    /// What is scored at the end.
    pub evaluation: Vec<PairSet>,
    /// Dev sets, cut to `select_pairs`, that select the parameters.
    pub selection: Vec<PairSet>,
    /// The record of all this.
    pub manifest: DataManifest,
    /// Token vectors to begin with, where the configuration names a file, and the files they came from.
    pub vectors: Option<(TokenVectors, Vec<FileRecord>)>,
    /// Lines for the user and the record: what is missing, what was left out.
    pub remarks: Vec<String>,
}

impl Prepared {
    /// Reads everything. When none of the training sources is to be found anywhere, the bundled sample takes
    /// their place (and that of the tasks), and a remark says so.
    ///
    /// Fails when files are broken, a task that selects is missing, or nothing is left to train on.
    pub fn new(config: &RunConfig, source: &DataSource, model_dir: Option<&Path>) -> Result<Self> {
        let mut remarks = Vec::new();
        let (sources, tasks, select_on) = resolve_names(config, source, &mut remarks)?;
        let evaluation = load_evaluation(source, &tasks, &mut remarks)?;
        let selection = load_selection(source, &select_on, config.evaluation.select_pairs)?;
        let tests: Vec<PairSet> = evaluation.iter().filter(|set| set.split == Split::Test).cloned().collect();
        let corpus_config =
            CorpusConfig { sources, transductive: config.data.transductive, limit: config.data.limit };
        let stream = Stream::from_seed(config.seed).named("corpus");
        let corpus = Corpus::build(source, &corpus_config, &tests, stream)?;
        let manifest = DataManifest::new(&corpus, &evaluation);
        let vocabulary = Vocabulary::build(corpus.sentences.iter().map(String::as_str), config.vocabulary)?;
        let tokenized = vocabulary.encode_all(&corpus.as_strs(), config.data.max_tokens);
        ensure!(
            tokenized.truncated * 10 <= corpus.sentences.len(),
            "data.max_tokens = {} cuts {} of {} sentences; fix: raise it, or leave long texts out",
            config.data.max_tokens,
            tokenized.truncated,
            corpus.sentences.len()
        );
        remarks.push(format!("training text: {tokenized}; vocabulary of {}", vocabulary.vocabulary_size()));
        let EncoderConfig::TextCnn(section) = &config.encoder;
        let vectors = match &section.vectors {
            Some(name) => load_vectors(name, model_dir, !manifest.sample)?,
            None => None,
        };
        Ok(Self { corpus, vocabulary, tokenized, evaluation, selection, manifest, vectors, remarks })
    }

    /// The content of `data.json`: the manifest, what tokenising lost, the files of vectors, and the remarks.
    pub fn record(&self) -> Result<Value> {
        let mut record = serde_json::to_value(&self.manifest)?;
        record["tokenized"] = json!({
            "tokens": self.tokenized.tokens(),
            "truncated": self.tokenized.truncated,
            "unknown_tokens": self.tokenized.unknown_tokens,
            "empty": self.tokenized.empty,
            "vocabulary_size": self.vocabulary.vocabulary_size(),
        });
        record["vectors"] = json!(self.vectors.as_ref().map(|(_, files)| files));
        record["remarks"] = json!(self.remarks);
        Ok(record)
    }

    /// The files of the run: training, evaluation, vectors.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        let training = self.corpus.report.sources.iter().flat_map(|source| &source.files);
        let vectors = self.vectors.iter().flat_map(|(_, files)| files);
        training.chain(self.evaluation.iter().flat_map(|set| &set.files)).chain(vectors)
    }

    /// Whether no part of the data is the bundled sample.
    pub fn is_real(&self) -> bool {
        !self.manifest.sample
    }

    /// The network of the configuration with fresh parameters; vectors from a file where it names one.
    pub fn text_cnn(&self, config: &RunConfig) -> Result<TextCnn> {
        let EncoderConfig::TextCnn(TextCnnSection { network, .. }) = &config.encoder;
        let stream = Stream::from_seed(config.seed).named("initial");
        let encoder = TextCnn::new(network.clone(), self.vocabulary.vocabulary_size(), stream)?;
        if let Some((vectors, _)) = &self.vectors {
            let table = encoder.parameters().get("embedding.weight").context("no embedding")?.as_tensor();
            let (filled, found) = vectors.fill(table, &self.tokens())?;
            ensure!(
                found > 0,
                "encoder.vectors: a vector for none of the tokens; fix: give vectors of this language"
            );
            encoder.set_embedding(&filled)?;
        }
        Ok(encoder)
    }

    fn tokens(&self) -> Vec<String> {
        let token = |id| self.vocabulary.token(id).unwrap_or_default().to_owned();
        (0..self.vocabulary.vocabulary_size() as u32).map(token).collect()
    }
}

/// Finds and reads a file of vectors. On the bundled sample, which needs no downloads, it may be missing.
fn load_vectors(
    name: &str,
    model_dir: Option<&Path>,
    needed: bool,
) -> Result<Option<(TokenVectors, Vec<FileRecord>)>> {
    let candidates = [Some(PathBuf::from(name)), model_dir.map(|folder| folder.join(name))];
    let Some(path) = candidates.into_iter().flatten().find(|path| path.exists()) else {
        ensure!(
            !needed,
            "encoder.vectors = {name:?}: not found here or in the model folder; fix: give --model-dir or \
             SIMCSE_MODEL_DIR, or leave the key out for random vectors"
        );
        return Ok(None);
    };
    let vectors = TokenVectors::load(&path)?;
    let mut records = Vec::new();
    for file in TokenVectors::files(&path)? {
        let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
        let shown = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (sha256, size) = (sha256_hex(&bytes), bytes.len() as u64);
        records.push(FileRecord { path: shown, sha256, bytes: size, rows: vectors.len() });
    }
    Ok(Some((vectors, records)))
}

type Names = (Vec<String>, Vec<String>, Vec<String>);

/// Training sources that are there, tasks, and tasks that select; or the sample for all three.
fn resolve_names(config: &RunConfig, source: &DataSource, remarks: &mut Vec<String>) -> Result<Names> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for name in &config.data.train {
        let read = match SourceName::parse(name)? {
            SourceName::Named { name, split } => load_sentences(source, &name, split),
            SourceName::File(path) => load_sentences(source, &path, Split::Train),
        };
        match read {
            Ok(_) => found.push(name.clone()),
            Err(error @ DataError::Missing { .. }) => missing.push((name, error)),
            Err(error) => return Err(error.into()),
        }
    }
    if found.is_empty() {
        remarks.push(format!(
            "none of {} was found: this run uses the bundled sample and shows only that everything works; give \
             real data by --data-dir or SIMCSE_DATA_DIR",
            config.data.train.join(", ")
        ));
        let sample = || vec![SAMPLE.to_owned()];
        return Ok((vec![format!("{SAMPLE}/train")], sample(), sample()));
    }
    remarks.extend(missing.iter().map(|(name, error)| format!("trained without {name}: {error}")));
    Ok((found, config.evaluation.tasks.clone(), config.evaluation.select_on.clone()))
}

fn load_evaluation(source: &DataSource, tasks: &[String], remarks: &mut Vec<String>) -> Result<Vec<PairSet>> {
    if tasks == [SAMPLE] {
        return Ok(SCORED
            .iter()
            .map(|split| load_pairs(source, SAMPLE, *split))
            .collect::<simcse_data::Result<_>>()?);
    }
    let names: Vec<&str> = tasks.iter().map(String::as_str).collect();
    let found = load_task_sets(source, &names, &SCORED)?;
    remarks.extend(found.missing);
    ensure!(
        !found.sets.is_empty(),
        "none of the tasks {} was found; fix: give --data-dir, or set evaluation.tasks and evaluation.select_on \
         to [\"sample\"]",
        tasks.join(", ")
    );
    Ok(found.sets)
}

fn load_selection(source: &DataSource, tasks: &[String], limit: usize) -> Result<Vec<PairSet>> {
    let load = |task: &String| -> Result<PairSet> {
        let mut set = load_pairs(source, task, Split::Dev)?;
        if limit > 0 && set.rows.len() > limit {
            set.rows.truncate(limit);
            set.subsets.truncate(1);
            set.subsets.iter_mut().for_each(|subset| subset.rows = 0..limit);
        }
        Ok(set)
    };
    tasks.iter().map(load).collect()
}
