//! Training text: unique sentences from several sources, without those of the test sets.

use crate::error::{DataError, Result};
use crate::load::{DataSet, PairSet, load_sentences};
use crate::shuffle::below;
use crate::source::{DataSource, FileRecord, Origin};
use crate::source_name::SourceName;
use crate::text::sentence_key;
use serde::{Deserialize, Serialize};
use simcse_random::Stream;
use std::collections::{HashMap, HashSet};

/// What a corpus is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// `NAME/SPLIT` or paths, in order.
    pub sources: Vec<String>,
    /// True: sentences of the test sets stay in. Every table then shows it.
    pub transductive: bool,
    /// Keep this many, chosen at random; absent: all.
    pub limit: Option<usize>,
}

/// Unique training sentences and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    /// The sentences, trimmed, in the order of the sources; no two are equal by [`sentence_key`].
    pub sentences: Vec<String>,
    /// The source of each sentence, as a place in [`CorpusReport::sources`]: the first one that has it.
    pub source_of: Vec<u32>,
    /// Counts for the record.
    pub report: CorpusReport,
}

/// How a corpus came about; goes into `data.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusReport {
    /// Counts and files by source.
    pub sources: Vec<SourceCount>,
    /// Unique sentences that stand in an evaluation set, by set; removed unless transductive.
    pub removed: Vec<RemovedSentences>,
    /// Whether sentences of the test sets were left in.
    pub transductive: bool,
    /// Sentences before the limit, if it cut any off.
    pub limited_from: Option<usize>,
    /// Sentences of the corpus.
    pub unique_sentences: usize,
    /// Labelled examples over the sentences, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<ExampleCount>,
}

/// What became of labelled examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleCount {
    /// Read from the sources.
    pub read: usize,
    /// Left out because a sentence is empty, or the two sides of a positive pair are the same.
    pub unusable: usize,
    /// Left out because a sentence stands in a test set.
    pub in_a_test_set: usize,
    /// Left to train on, after the limit.
    pub kept: usize,
}

/// What one source gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceCount {
    /// `NAME/SPLIT`, or the path below the data folder.
    pub name: String,
    /// Where it was found.
    pub origin: Origin,
    /// Its files.
    pub files: Vec<FileRecord>,
    /// Sentences read.
    pub sentences: usize,
    /// Sentences that no source before had, after repeats within this one.
    pub new_sentences: usize,
    /// Remarks of the reader.
    pub remarks: Vec<String>,
}

/// Sentences of the sources that stand in an evaluation set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedSentences {
    /// `NAME/SPLIT` of the evaluation set.
    pub evaluation_set: String,
    /// Unique sentences found in it. One that stands in several sets counts in each.
    pub sentences: usize,
}

impl Corpus {
    /// Reads the sources, keeps the first of equal sentences, takes out those of `test_sets` unless the
    /// configuration is transductive (then they are only counted), and draws `limit` of the rest by `stream`.
    ///
    /// # Errors
    /// What [`load_sentences`] returns; [`DataError::Config`] if there is no source or nothing is left.
    pub fn build(
        source: &DataSource,
        config: &CorpusConfig,
        test_sets: &[PairSet],
        stream: Stream,
    ) -> Result<Self> {
        let mut builder = Builder::default();
        for name in &config.sources {
            builder.read(source, &SourceName::parse(name)?)?;
        }
        let (tested, removed) = builder.tested(test_sets);
        let mut sentences = builder.sentences;
        if !config.transductive {
            let mut tested = tested.iter();
            sentences.retain(|_| !tested.next().copied().unwrap_or(false));
        }
        let before = sentences.len();
        if let Some(limit) = config.limit {
            sentences = draw(sentences, limit, stream);
        }
        if sentences.is_empty() {
            return Err(nothing_left());
        }
        let report = CorpusReport {
            sources: builder.counts,
            removed,
            transductive: config.transductive,
            limited_from: (sentences.len() < before).then_some(before),
            unique_sentences: sentences.len(),
            examples: None,
        };
        let (source_of, sentences) = sentences.into_iter().unzip();
        Ok(Self { sentences, source_of, report })
    }

    /// The sentences as the tokenizer wants them.
    pub fn as_strs(&self) -> Vec<&str> {
        self.sentences.iter().map(String::as_str).collect()
    }

    /// True if the text, or a part of it, is the bundled sample.
    pub fn has_sample(&self) -> bool {
        self.report.sources.iter().any(|source| source.origin == Origin::Sample)
    }
}

/// Unique sentences under construction.
#[derive(Default)]
pub(crate) struct Builder {
    /// Each with the place of its source among `counts`.
    pub(crate) sentences: Vec<(u32, String)>,
    /// Place of each sentence by its `sentence_key`.
    places: HashMap<String, u32>,
    pub(crate) counts: Vec<SourceCount>,
}

impl Builder {
    fn read(&mut self, source: &DataSource, name: &SourceName) -> Result<()> {
        let (place, split) = name.place();
        let set = load_sentences(source, place, split)?;
        let count = SourceCount::new(name, &set, set.rows.len());
        self.add(count, set.rows.into_iter().map(Some));
        Ok(())
    }

    /// Adds the sentences of a source. Gives the place of each among the unique ones; `None` for none, and for
    /// a sentence of blanks.
    pub(crate) fn add(
        &mut self,
        count: SourceCount,
        sentences: impl Iterator<Item = Option<String>>,
    ) -> Vec<Option<u32>> {
        let before = self.sentences.len();
        let places = sentences.map(|sentence| sentence.and_then(|sentence| self.place(sentence))).collect();
        self.counts.push(SourceCount { new_sentences: self.sentences.len() - before, ..count });
        places
    }

    fn place(&mut self, sentence: String) -> Option<u32> {
        let key = sentence_key(&sentence);
        if key.is_empty() {
            return None;
        }
        let next = self.sentences.len() as u32;
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.sentences.push((self.counts.len() as u32, sentence));
        }
        Some(place)
    }

    /// Which sentences stand in a test set, and how many of each.
    pub(crate) fn tested(&self, test_sets: &[PairSet]) -> (Vec<bool>, Vec<RemovedSentences>) {
        let mut tested = vec![false; self.sentences.len()];
        let count = |set: &PairSet| {
            let places: Vec<u32> =
                keys_of(set).iter().filter_map(|key| self.places.get(key).copied()).collect();
            places.iter().for_each(|place| tested[*place as usize] = true);
            let evaluation_set = format!("{}/{}", set.name, set.split);
            RemovedSentences { evaluation_set, sentences: places.len() }
        };
        let removed = test_sets.iter().map(count).collect();
        (tested, removed)
    }
}

impl SourceCount {
    /// The record of a source of `sentences` sentences before any was compared.
    pub(crate) fn new<T>(name: &SourceName, set: &DataSet<T>, sentences: usize) -> Self {
        let recorded = match name {
            SourceName::Named { .. } => name.to_string(),
            SourceName::File(_) => set.files.first().map_or_else(String::new, |file| file.path.clone()),
        };
        Self {
            name: recorded,
            origin: set.origin.clone(),
            files: set.files.clone(),
            sentences,
            new_sentences: 0,
            remarks: set.remarks.clone(),
        }
    }
}

/// The keys of all sentences of a set of pairs.
pub(crate) fn keys_of(set: &PairSet) -> HashSet<String> {
    set.rows.iter().flat_map(|pair| [sentence_key(&pair.first), sentence_key(&pair.second)]).collect()
}

pub(crate) fn nothing_left() -> DataError {
    DataError::Config {
        key: "corpus.sources",
        problem: "no training sentence is left".to_owned(),
        fix: "name at least one source whose text is not that of the test sets".to_owned(),
    }
}

/// `limit` of the rows, in their order; every subset is equally likely.
pub(crate) fn draw<T>(rows: Vec<T>, limit: usize, stream: Stream) -> Vec<T> {
    let mut rng = stream.named("corpus_limit").rng();
    let mut wanted = limit.min(rows.len());
    let mut left = rows.len();
    // Selection sampling (Knuth 3.4.2, algorithm S).
    let chosen = |_: &T| {
        let take = below(&mut rng, left) < wanted;
        left -= 1;
        wanted -= usize::from(take);
        take
    };
    rows.into_iter().filter(chosen).collect()
}
