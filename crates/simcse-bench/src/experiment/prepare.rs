//! What a run needs before its first step: text, encoder, token ids, evaluation sets.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use simcse_data::{
    Corpus, CorpusConfig, DataError, DataManifest, DataSource, Example, ExampleKind, FileRecord,
    LabelledCorpus, PairSet, SentenceTokenizer as _, SourceName, Split, Tokenized, load_pairs,
    load_sentences,
};
use simcse_random::Stream;

use super::RunOptions;
use super::start::Start;
use super::teacher::Teacher;
use crate::config::{DataConfig, RunConfig, TrainingText};
use crate::tasks::{SCORED, load_task_sets};

/// The name of the bundled sample in the catalogue.
const SAMPLE: &str = "sample";

/// Text, encoder and evaluation sets of a run.
#[derive(Debug)]
pub struct Prepared {
    /// Training text.
    pub corpus: Corpus,
    /// Labelled examples over it; `None` for views of sentences.
    pub examples: Option<Vec<Example>>,
    /// The encoder before its first step.
    pub start: Start,
    /// For distillation.
    pub teacher: Option<Teacher>,
    /// The corpus as token ids.
    pub tokenized: Tokenized,
    /// What is scored at the end.
    pub evaluation: Vec<PairSet>,
    /// Dev sets, cut to `select_pairs`, that select the parameters.
    pub selection: Vec<PairSet>,
    /// The record of all this.
    pub manifest: DataManifest,
    /// Lines for the user and the record: what is missing, what was left out.
    pub remarks: Vec<String>,
}

impl Prepared {
    /// Reads everything. When none of the training sources is to be found anywhere, the bundled sample takes
    /// their place (and that of the tasks), and a remark says so.
    ///
    /// Fails when files are broken, a task that selects is missing, or nothing is left to train on.
    pub fn new(config: &RunConfig, options: &RunOptions) -> Result<Self> {
        let (source, model_dir) = (&options.source, options.model_dir.as_deref());
        let mut remarks = Vec::new();
        let names = resolve_names(config, source, &mut remarks)?;
        let evaluation = load_evaluation(source, &names.tasks, &mut remarks)?;
        let selection = load_selection(source, &names.select_on, config.evaluation.select_pairs)?;
        let (corpus, examples) = load_text(config, source, &names, &evaluation)?;
        let manifest = DataManifest::new(&corpus, &evaluation);
        let start = Start::new(config, &corpus, model_dir, !manifest.sample)?;
        let DataConfig { max_tokens, train_max_tokens, .. } = config.data;
        let tokenized = start.tokenize(&corpus.as_strs(), config.data.most_train_tokens());
        // What is cut on purpose is only counted.
        ensure!(
            train_max_tokens.is_some() || tokenized.truncated * 10 <= corpus.sentences.len(),
            "data.max_tokens = {max_tokens} cuts {} of {} sentences; fix: raise it, leave long texts out, or set \
             data.train_max_tokens if that is meant",
            tokenized.truncated,
            corpus.sentences.len()
        );
        start.weigh_tokens(config, &tokenized)?;
        let teacher = config.teacher.as_ref();
        let teacher =
            teacher.map(|section| Teacher::load(section, options, &corpus.as_strs())).transpose()?;
        let vocabulary_size = start.encoder.tokenizer.vocabulary_size();
        remarks.push(format!("training text: {tokenized}; vocabulary of {vocabulary_size}"));
        Ok(Self { corpus, examples, start, teacher, tokenized, evaluation, selection, manifest, remarks })
    }

    /// The content of `data.json`: the manifest, what tokenising lost, the files of vectors or of the checkpoint,
    /// and the remarks.
    pub fn record(&self) -> Result<Value> {
        let mut record = serde_json::to_value(&self.manifest)?;
        record["tokenized"] = json!({
            "tokens": self.tokenized.tokens(),
            "truncated": self.tokenized.truncated,
            "unknown_tokens": self.tokenized.unknown_tokens,
            "empty": self.tokenized.empty,
            "vocabulary_size": self.start.encoder.tokenizer.vocabulary_size(),
        });
        record[self.start.record_name] = self.start.record.clone();
        if let Some(teacher) = &self.teacher {
            record["teacher"] = teacher.record.clone();
        }
        record["remarks"] = json!(self.remarks);
        Ok(record)
    }

    /// The files of the run: training, evaluation, vectors or checkpoint.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        let training = self.corpus.report.sources.iter().flat_map(|source| &source.files);
        let teacher = self.teacher.iter().flat_map(|teacher| &teacher.files);
        let evaluation = self.evaluation.iter().flat_map(|set| &set.files);
        training.chain(evaluation).chain(&self.start.files).chain(teacher)
    }

    /// Whether no part of the data is the bundled sample.
    pub fn is_real(&self) -> bool {
        !self.manifest.sample
    }
}

/// The training text without sentences of the test sets, and the labelled examples over it.
fn load_text(
    config: &RunConfig,
    source: &DataSource,
    names: &Names,
    evaluation: &[PairSet],
) -> Result<(Corpus, Option<Vec<Example>>)> {
    let tests: Vec<PairSet> = evaluation.iter().filter(|set| set.split == Split::Test).cloned().collect();
    let corpus = CorpusConfig {
        sources: names.sources.clone(),
        transductive: config.data.transductive,
        limit: config.data.limit,
    };
    let stream = Stream::from_seed(config.seed).named("corpus");
    let kind = match names.text {
        TrainingText::Sentences => return Ok((Corpus::build(source, &corpus, &tests, stream)?, None)),
        TrainingText::Triplets => ExampleKind::Triplets,
        TrainingText::Pairs => ExampleKind::Pairs,
    };
    let labelled = LabelledCorpus::build(source, &corpus, kind, &tests, stream)?;
    let mut examples = labelled.examples;
    if config.data.without_hard_negatives {
        examples.iter_mut().for_each(Example::forget_hard_negative);
    }
    Ok((labelled.corpus, Some(examples)))
}

/// What is read: the names of the configuration that are there, or the sample for all.
struct Names {
    text: TrainingText,
    sources: Vec<String>,
    tasks: Vec<String>,
    select_on: Vec<String>,
}

/// Training sources that are there, tasks, and tasks that select; or the sample for all three.
fn resolve_names(config: &RunConfig, source: &DataSource, remarks: &mut Vec<String>) -> Result<Names> {
    let (text, wanted) = config.data.text().context("data: no sources; fix: give some under data.train")?;
    let mut sources = Vec::new();
    let mut missing = Vec::new();
    for name in wanted {
        match find(source, &SourceName::parse(name)?)? {
            None => sources.push(name.clone()),
            Some(problem) => missing.push(format!("{name}: {problem}")),
        }
    }
    if sources.is_empty() && text != TrainingText::Sentences {
        bail!("nothing to train on, and the bundled sample has no labelled examples: {}", missing.join("; "));
    }
    if sources.is_empty() {
        remarks.push(format!(
            "none of {} was found: this run uses the bundled sample and shows only that everything works; give \
             real data by --data-dir or SIMCSE_DATA_DIR",
            wanted.join(", ")
        ));
        let sample = || vec![SAMPLE.to_owned()];
        return Ok(Names {
            text,
            sources: vec![format!("{SAMPLE}/train")],
            tasks: sample(),
            select_on: sample(),
        });
    }
    remarks.extend(missing.iter().map(|problem| format!("trained without {problem}")));
    let (tasks, select_on) = (config.evaluation.tasks.clone(), config.evaluation.select_on.clone());
    Ok(Names { text, sources, tasks, select_on })
}

/// Why a source cannot be had; `None` if it can. What is not on this machine is downloaded.
fn find(source: &DataSource, name: &SourceName) -> Result<Option<String>> {
    let (place, split) = name.place();
    if source.has(place, split)? {
        return Ok(None);
    }
    match load_sentences(source, place, split) {
        Ok(_) => Ok(None),
        Err(error @ DataError::Missing { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
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
