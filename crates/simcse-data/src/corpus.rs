//! Training text: unique sentences from several sources, without those of the test sets.

use crate::error::{DataError, Result};
use crate::load::{PairSet, load_sentences};
use crate::rows::Split;
use crate::shuffle::below;
use crate::source::{DataSource, FileRecord, Origin};
use crate::source_name::SourceName;
use crate::text::sentence_key;
use serde::{Deserialize, Serialize};
use simcse_random::Stream;
use std::collections::HashSet;

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
        let removed = builder.remove(test_sets, config.transductive);
        let mut sentences = builder.sentences;
        let before = sentences.len();
        if let Some(limit) = config.limit {
            sentences = draw(sentences, limit, stream);
        }
        if sentences.is_empty() {
            return Err(DataError::Config {
                key: "corpus.sources",
                problem: "no training sentence is left".to_owned(),
                fix: "name at least one source whose text is not that of the test sets".to_owned(),
            });
        }
        let report = CorpusReport {
            sources: builder.counts,
            removed,
            transductive: config.transductive,
            limited_from: (sentences.len() < before).then_some(before),
            unique_sentences: sentences.len(),
        };
        Ok(Self { sentences, report })
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

#[derive(Default)]
struct Builder {
    sentences: Vec<String>,
    /// `sentence_key` of each sentence.
    keys: Vec<String>,
    seen: HashSet<String>,
    counts: Vec<SourceCount>,
}

impl Builder {
    fn read(&mut self, source: &DataSource, name: &SourceName) -> Result<()> {
        let set = match name {
            SourceName::Named { name, split } => load_sentences(source, name, *split)?,
            SourceName::File(path) => load_sentences(source, path, Split::Train)?,
        };
        let (sentences, before) = (set.rows.len(), self.sentences.len());
        for sentence in set.rows {
            let key = sentence_key(&sentence);
            if !key.is_empty() && self.seen.insert(key.clone()) {
                self.sentences.push(sentence);
                self.keys.push(key);
            }
        }
        let recorded = match name {
            SourceName::Named { .. } => name.to_string(),
            SourceName::File(_) => set.files.first().map_or_else(String::new, |file| file.path.clone()),
        };
        self.counts.push(SourceCount {
            name: recorded,
            origin: set.origin,
            files: set.files,
            sentences,
            new_sentences: self.sentences.len() - before,
            remarks: set.remarks,
        });
        Ok(())
    }

    fn remove(&mut self, test_sets: &[PairSet], transductive: bool) -> Vec<RemovedSentences> {
        let mut in_a_test_set = vec![false; self.sentences.len()];
        let mut removed = Vec::new();
        for set in test_sets {
            let keys = keys_of(set);
            let mut count = 0;
            for (key, found) in self.keys.iter().zip(&mut in_a_test_set) {
                if keys.contains(key) {
                    *found = true;
                    count += 1;
                }
            }
            removed.push(RemovedSentences {
                evaluation_set: format!("{}/{}", set.name, set.split),
                sentences: count,
            });
        }
        if !transductive {
            let mut found = in_a_test_set.iter();
            self.sentences.retain(|_| !found.next().copied().unwrap_or(false));
        }
        removed
    }
}

/// The keys of all sentences of a set of pairs.
pub(crate) fn keys_of(set: &PairSet) -> HashSet<String> {
    set.rows.iter().flat_map(|pair| [sentence_key(&pair.first), sentence_key(&pair.second)]).collect()
}

/// `limit` of the sentences, in their order; every subset is equally likely.
fn draw(sentences: Vec<String>, limit: usize, stream: Stream) -> Vec<String> {
    let mut rng = stream.named("corpus_limit").rng();
    let mut wanted = limit.min(sentences.len());
    let mut left = sentences.len();
    // Selection sampling (Knuth 3.4.2, algorithm S).
    let chosen = |_: &String| {
        let take = below(&mut rng, left) < wanted;
        left -= 1;
        wanted -= usize::from(take);
        take
    };
    sentences.into_iter().filter(chosen).collect()
}
