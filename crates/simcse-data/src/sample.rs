//! The bundled sample: Chinese sentences and pairs written for this project (`sample/README.md`), the last
//! resort when no real data is found.

use crate::rows::{ScoredPair, Split};

const SENTENCES: &str = include_str!("../sample/sentences.txt");
const DEV: &str = include_str!("../sample/dev.tsv");
const TEST: &str = include_str!("../sample/test.tsv");

/// The unlabelled training sentences, 4,080 of them; none stands in a pair of [`pairs`].
pub fn sentences() -> Vec<String> {
    SENTENCES.lines().map(str::to_owned).collect()
}

/// The labelled pairs of a split, 600 each for dev and test: score 1 for one meaning, 0 for two. There are
/// none for training.
pub fn pairs(split: Split) -> Vec<ScoredPair> {
    let rows = match split {
        Split::Train => "",
        Split::Dev => DEV,
        Split::Test => TEST,
    };
    rows.lines().filter_map(pair).collect()
}

fn pair(row: &str) -> Option<ScoredPair> {
    let mut fields = row.split('\t');
    let (first, second) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    Some(ScoredPair { first, second, score: fields.next()?.parse().ok()? })
}

#[cfg(test)]
#[path = "../sample/generator.rs"]
mod generator;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sentence_key;
    use std::collections::HashSet;

    #[test]
    fn committed_files_are_what_the_generator_writes() {
        let sample = generator::generate().unwrap();
        let fix = "fix: cargo run -p simcse-data --example make_sample";
        assert!(sample.sentences == SENTENCES, "sentences.txt is stale; {fix}");
        assert!(sample.dev == DEV, "dev.tsv is stale; {fix}");
        assert!(sample.test == TEST, "test.tsv is stale; {fix}");
    }

    #[test]
    fn counts_and_labels_are_as_promised() {
        assert_eq!(sentences().len(), 4080);
        assert_eq!(pairs(Split::Train), []);
        for split in [Split::Dev, Split::Test] {
            let pairs = pairs(split);
            assert_eq!(pairs.len(), 600);
            assert_eq!(pairs.iter().filter(|pair| pair.score == 1.0).count(), 300);
            assert_eq!(pairs.iter().filter(|pair| pair.score == 0.0).count(), 300);
        }
    }

    #[test]
    fn no_sentence_stands_anywhere_twice() {
        let mut seen = HashSet::new();
        let pairs = [Split::Dev, Split::Test].into_iter().flat_map(pairs);
        let all = sentences().into_iter().chain(pairs.flat_map(|pair| [pair.first, pair.second]));
        for sentence in all {
            assert!(seen.insert(sentence_key(&sentence)), "{sentence} stands twice");
            assert!(!sentence.contains(['{', '}', '|', '\t', ' ']), "{sentence}: not filled in");
        }
    }

    /// Shared characters tell something about the label, but far from all: the mean overlap of positives
    /// and negatives lies close together.
    #[test]
    fn counting_characters_does_not_solve_the_pairs() {
        for split in [Split::Dev, Split::Test] {
            let pairs = pairs(split);
            let overlaps = |score: f32| -> Vec<f64> {
                let of = pairs.iter().filter(|pair| pair.score == score);
                of.map(|pair| generator::jaccard(&pair.first, &pair.second)).collect()
            };
            let (positives, negatives) = (overlaps(1.0), overlaps(0.0));
            let wins =
                positives.iter().flat_map(|p| negatives.iter().map(move |n| f64::from(*p > *n))).sum::<f64>();
            let auc = wins / (positives.len() * negatives.len()) as f64;
            assert!((0.3..0.8).contains(&auc), "{split}: {auc}");
        }
    }
}
