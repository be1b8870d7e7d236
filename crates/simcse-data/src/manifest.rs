//! What a run knew of its data: the content of `data.json`.

use crate::corpus::{Corpus, CorpusReport, keys_of};
use crate::load::PairSet;
use crate::source::{FileRecord, Origin};
use crate::text::sentence_key;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Training text and evaluation sets of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataManifest {
    /// How the corpus came about, with its files.
    pub corpus: CorpusReport,
    /// Lengths of the training sentences in characters.
    pub length_histogram: Vec<LengthBin>,
    /// Training sentences that stand in an evaluation set, after removal. Must be 0 for every test set unless
    /// the run is transductive.
    pub overlaps: Vec<Overlap>,
    /// Files of the evaluation sets.
    pub evaluation: Vec<EvaluationRecord>,
    /// True if any of it is the bundled sample.
    pub sample: bool,
}

/// The files of one evaluation set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRecord {
    /// `NAME/SPLIT`.
    pub name: String,
    /// Number of pairs.
    pub pairs: usize,
    /// Where it was found.
    pub origin: Origin,
    /// Its files.
    pub files: Vec<FileRecord>,
    /// Remarks of the reader.
    pub remarks: Vec<String>,
}

/// Sentences of `min_characters` to `max_characters` characters, both included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthBin {
    /// Shortest.
    pub min_characters: usize,
    /// Longest; absent in the last bin.
    pub max_characters: Option<usize>,
    /// How many.
    pub sentences: usize,
}

/// Training sentences that stand in an evaluation set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlap {
    /// `NAME/SPLIT`.
    pub evaluation_set: String,
    /// Unique sentences in both.
    pub sentences: usize,
    /// Unique sentences of the evaluation set.
    pub of: usize,
}

impl DataManifest {
    /// Describes a corpus beside the evaluation sets (dev and test).
    pub fn new(corpus: &Corpus, evaluation_sets: &[PairSet]) -> Self {
        let has_sample = evaluation_sets.iter().any(|set| set.origin == Origin::Sample);
        Self {
            corpus: corpus.report.clone(),
            length_histogram: length_histogram(&corpus.sentences),
            overlaps: overlap(&corpus.sentences, evaluation_sets),
            evaluation: evaluation_sets.iter().map(evaluation_record).collect(),
            sample: corpus.has_sample() || has_sample,
        }
    }
}

fn evaluation_record(set: &PairSet) -> EvaluationRecord {
    EvaluationRecord {
        name: format!("{}/{}", set.name, set.split),
        pairs: set.rows.len(),
        origin: set.origin.clone(),
        files: set.files.clone(),
        remarks: set.remarks.clone(),
    }
}

/// Upper ends of the bins, in characters: finer where sentences are.
const BIN_ENDS: [usize; 9] = [4, 8, 12, 16, 24, 32, 48, 64, 128];

/// How long the sentences are.
pub fn length_histogram(sentences: &[String]) -> Vec<LengthBin> {
    let mut counts = [0_usize; BIN_ENDS.len() + 1];
    for sentence in sentences {
        let length = sentence.chars().count();
        counts[BIN_ENDS.partition_point(|end| *end < length)] += 1;
    }
    let bin = |(index, sentences): (usize, usize)| LengthBin {
        min_characters: index.checked_sub(1).map_or(0, |before| BIN_ENDS[before] + 1),
        max_characters: BIN_ENDS.get(index).copied(),
        sentences,
    };
    counts.into_iter().enumerate().map(bin).collect()
}

/// How many sentences stand in each of the evaluation sets.
pub fn overlap(sentences: &[String], evaluation_sets: &[PairSet]) -> Vec<Overlap> {
    let keys: HashSet<String> = sentences.iter().map(|sentence| sentence_key(sentence)).collect();
    let count = |set: &PairSet| {
        let in_set = keys_of(set);
        Overlap {
            evaluation_set: format!("{}/{}", set.name, set.split),
            sentences: in_set.intersection(&keys).count(),
            of: in_set.len(),
        }
    };
    evaluation_sets.iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_falls_into_one_bin() {
        let sentences: Vec<String> = [1, 4, 5, 128, 129, 500].map(|length| "字".repeat(length)).to_vec();
        let bins = length_histogram(&sentences);
        let counted: Vec<(usize, Option<usize>, usize)> = bins
            .iter()
            .filter(|bin| bin.sentences > 0)
            .map(|bin| (bin.min_characters, bin.max_characters, bin.sentences))
            .collect();
        assert_eq!(counted, [(0, Some(4), 2), (5, Some(8), 1), (65, Some(128), 1), (129, None, 2)]);
    }
}
