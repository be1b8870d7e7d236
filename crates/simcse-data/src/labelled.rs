//! Labelled training examples: triplets and scored pairs over the unique sentences of a corpus.

use crate::corpus::{
    Builder, Corpus, CorpusConfig, CorpusReport, ExampleCount, SourceCount, draw, nothing_left,
};
use crate::error::{DataError, Result};
use crate::load::{DataSet, PairSet, TripletSet, load_nli, load_pairs, load_triplets};
use crate::nli::{TripletOptions, triplets_from_nli};
use crate::rows::{ScoredPair, Split, Triplet};
use crate::source::DataSource;
use crate::source_name::SourceName;
use simcse_random::Stream;

/// A labelled example whose sentences are numbers into [`Corpus::sentences`].
///
/// Equal texts have equal numbers, so a loss can tell false negatives by them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Example {
    /// For the contrast with hard negatives.
    Triplet {
        /// Premise.
        anchor: u32,
        /// Entailed sentence.
        positive: u32,
        /// Contradicting sentence, where there is one.
        hard_negative: Option<u32>,
    },
    /// For losses over gold scores.
    Pair {
        /// First sentence.
        first: u32,
        /// Second sentence.
        second: u32,
        /// Gold similarity on the data set's own scale.
        score: f32,
    },
}

/// What the examples of a source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExampleKind {
    /// Triplets, or NLI pairs from which triplets are made.
    Triplets,
    /// Scored pairs.
    Pairs,
}

/// Unique sentences and the examples over them.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledCorpus {
    /// All sentences of the examples, and how they came about.
    pub corpus: Corpus,
    /// The examples, in the order of the sources.
    pub examples: Vec<Example>,
}

impl LabelledCorpus {
    /// Reads the sources, leaves out examples with an empty sentence or with equal anchor and positive and,
    /// unless the configuration is transductive, those with a sentence of a test set; draws `limit` of the rest.
    ///
    /// # Errors
    /// What the readers return; [`DataError::Config`] if there is no source, if nothing is left, and if all pairs have one score.
    pub fn build(
        source: &DataSource,
        config: &CorpusConfig,
        kind: ExampleKind,
        test_sets: &[PairSet],
        stream: Stream,
    ) -> Result<Self> {
        let mut builder = Builder::default();
        let mut examples = Vec::new();
        let mut read = 0;
        for name in &config.sources {
            let (rows, found) = read_source(source, &SourceName::parse(name)?, kind, &mut builder)?;
            read += rows;
            examples.extend(found);
        }
        let usable = examples.len();
        let (tested, removed) = builder.tested(test_sets);
        if !config.transductive {
            examples.retain(|example| example.sentences().all(|sentence| !tested[sentence as usize]));
        }
        let clean = examples.len();
        if let Some(limit) = config.limit {
            examples = draw(examples, limit, stream);
        }
        if examples.is_empty() {
            return Err(nothing_left());
        }
        if have_one_score(&examples) {
            return Err(DataError::Config {
                key: "data.pairs",
                problem: format!(
                    "all of {} pairs have the same score: there is no order to learn",
                    examples.len()
                ),
                fix: "name sources with different scores".to_owned(),
            });
        }
        let sentences = compact(builder.sentences, &mut examples);
        let report = CorpusReport {
            sources: builder.counts,
            removed,
            transductive: config.transductive,
            limited_from: None,
            unique_sentences: sentences.len(),
            examples: Some(ExampleCount {
                read,
                unusable: read - usable,
                in_a_test_set: usable - clean,
                kept: examples.len(),
            }),
        };
        let (source_of, sentences) = sentences.into_iter().unzip();
        Ok(Self { corpus: Corpus { sentences, source_of, report }, examples })
    }
}

impl Example {
    /// The numbers of its sentences.
    pub fn sentences(&self) -> impl Iterator<Item = u32> + use<> {
        let (first, second, third) = match *self {
            Self::Triplet { anchor, positive, hard_negative } => (anchor, positive, hard_negative),
            Self::Pair { first, second, .. } => (first, second, None),
        };
        [Some(first), Some(second), third].into_iter().flatten()
    }

    /// Makes a triplet one of anchor and positive alone.
    pub fn forget_hard_negative(&mut self) {
        if let Self::Triplet { hard_negative, .. } = self {
            *hard_negative = None;
        }
    }

    fn renumbered(self, number: impl Fn(u32) -> u32) -> Self {
        match self {
            Self::Triplet { anchor, positive, hard_negative } => Self::Triplet {
                anchor: number(anchor),
                positive: number(positive),
                hard_negative: hard_negative.map(number),
            },
            Self::Pair { first, second, score } => {
                Self::Pair { first: number(first), second: number(second), score }
            }
        }
    }
}

/// Number of rows of a source, and the examples that can be used.
fn read_source(
    source: &DataSource,
    name: &SourceName,
    kind: ExampleKind,
    builder: &mut Builder,
) -> Result<(usize, Vec<Example>)> {
    let (place, split) = name.place();
    match kind {
        ExampleKind::Triplets => {
            let set = triplets(source, place, split)?;
            let count = SourceCount::new(name, &set, set.rows.iter().map(sentences_of).sum());
            let places = builder.add(count, set.rows.iter().flat_map(texts_of_triplet));
            let examples = set.rows.iter().zip(places.chunks_exact(3)).filter_map(triplet).collect();
            Ok((set.rows.len(), examples))
        }
        ExampleKind::Pairs => {
            let set = load_pairs(source, place, split)?;
            let count = SourceCount::new(name, &set, 2 * set.rows.len());
            let places = builder.add(count, set.rows.iter().flat_map(texts_of_pair));
            let examples = set.rows.iter().zip(places.chunks_exact(2)).filter_map(pair).collect();
            Ok((set.rows.len(), examples))
        }
    }
}

/// Triplets as published, or made of labelled NLI pairs.
fn triplets(source: &DataSource, name: &str, split: Split) -> Result<TripletSet> {
    match load_triplets(source, name, split) {
        Err(no_triplets @ DataError::WrongKind { .. }) => {
            let set = match load_nli(source, name, split) {
                // Neither: what was asked for is triplets.
                Err(DataError::WrongKind { .. }) => return Err(no_triplets),
                other => other?,
            };
            let options = TripletOptions { per_premise: None, allow_missing_hard_negative: true };
            let rows = triplets_from_nli(&set.rows, options);
            let DataSet { name, split, files, origin, remarks, .. } = set;
            Ok(DataSet { name, split, rows, subsets: Vec::new(), files, origin, remarks })
        }
        other => other,
    }
}

fn sentences_of(triplet: &Triplet) -> usize {
    2 + usize::from(triplet.hard_negative.is_some())
}

fn texts_of_triplet(triplet: &Triplet) -> [Option<String>; 3] {
    [Some(triplet.anchor.clone()), Some(triplet.positive.clone()), triplet.hard_negative.clone()]
}

fn texts_of_pair(pair: &ScoredPair) -> [Option<String>; 2] {
    [Some(pair.first.clone()), Some(pair.second.clone())]
}

fn triplet((_, places): (&Triplet, &[Option<u32>])) -> Option<Example> {
    let (anchor, positive) = (places[0]?, places[1]?);
    let hard_negative = places[2].filter(|sentence| *sentence != anchor && *sentence != positive);
    (anchor != positive).then_some(Example::Triplet { anchor, positive, hard_negative })
}

fn pair((pair, places): (&ScoredPair, &[Option<u32>])) -> Option<Example> {
    Some(Example::Pair { first: places[0]?, second: places[1]?, score: pair.score })
}

/// Whether these are pairs which nothing ranks.
fn have_one_score(examples: &[Example]) -> bool {
    let score = |example: &Example| match *example {
        Example::Pair { score, .. } => Some(score),
        Example::Triplet { .. } => None,
    };
    let Some(first) = examples.first().and_then(score) else { return false };
    examples.iter().all(|example| score(example) == Some(first))
}

/// Keeps the sentences that an example uses, and numbers them anew.
fn compact<T>(sentences: Vec<T>, examples: &mut [Example]) -> Vec<T> {
    const UNUSED: u32 = u32::MAX;
    let mut numbers = vec![UNUSED; sentences.len()];
    examples.iter().flat_map(Example::sentences).for_each(|sentence| numbers[sentence as usize] = 0);
    numbers.iter_mut().filter(|number| **number != UNUSED).zip(0..).for_each(|(number, next)| *number = next);
    examples.iter_mut().for_each(|example| *example = example.renumbered(|old| numbers[old as usize]));
    let kept = sentences.into_iter().zip(&numbers).filter(|(_, number)| **number != UNUSED);
    kept.map(|(sentence, _)| sentence).collect()
}
