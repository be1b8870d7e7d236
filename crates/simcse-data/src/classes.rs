//! Sentences as classes: each one is a class of its own, but for those that say the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use simcse_random::{Stream, uniform_bits};
use unicode_normalization::UnicodeNormalization as _;

use crate::error::{DataError, Result};

/// Hash functions of a signature, in bands of [`ROWS`]: a pair of Jaccard index j shares a band with probability
/// 1 - (1 - j⁴)³², which is .9999 at .7 and .05 at .2.
const BANDS: usize = 32;
const ROWS: usize = 4;

/// Which class each sentence belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceClasses {
    /// Class of each sentence, below [`SentenceClasses::count`]; classes are numbered by their first sentence.
    pub class_of: Vec<u32>,
    /// Number of classes.
    pub count: usize,
}

impl SentenceClasses {
    /// Sentences are one class if they have the same letters and digits in the same order: case, full width,
    /// blanks and punctuation aside. A sentence without letters and digits is a class of its own.
    pub fn by_text(sentences: &[&str]) -> Self {
        let mut links = Links::new(sentences.len());
        links.join_equal(sentences);
        links.classes()
    }

    /// As [`SentenceClasses::by_text`], and sentences whose sets of character bigrams have a Jaccard index of
    /// `threshold` or more are joined as well, and so are chains of such pairs. Pairs are found by MinHash (Broder 1997)
    /// and their index is then reckoned exactly: no pair below the threshold is joined, and one far above it hardly
    /// ever missed.
    ///
    /// # Errors
    /// [`DataError::Config`] if the threshold is not in (0, 1].
    pub fn by_near_text(sentences: &[&str], threshold: f64, stream: Stream) -> Result<Self> {
        if !(threshold > 0.0 && threshold <= 1.0) {
            return Err(DataError::Config {
                key: "near_duplicates",
                problem: format!("{threshold} is not in (0, 1]"),
                fix: "give a Jaccard index such as 0.8".to_owned(),
            });
        }
        let mut links = Links::new(sentences.len());
        links.join_equal(sentences);
        let shingles: Vec<BTreeSet<u64>> =
            sentences.iter().map(|sentence| bigrams(&letters(sentence))).collect();
        for band in 0..BANDS {
            let mut buckets: BTreeMap<[u32; ROWS], Vec<u32>> = BTreeMap::new();
            for (place, shingles) in (0..).zip(&shingles).filter(|(_, shingles)| !shingles.is_empty()) {
                let signature = std::array::from_fn(|row| {
                    let hash = stream.named("minhash").fold((band * ROWS + row) as u64).key();
                    shingles.iter().map(|shingle| uniform_bits(hash, mix(*shingle))).min().unwrap_or(0)
                });
                buckets.entry(signature).or_default().push(place);
            }
            for bucket in buckets.values() {
                links.join_similar(bucket, &shingles, threshold);
            }
        }
        Ok(links.classes())
    }
}

/// The letters and digits of a sentence in one form.
fn letters(sentence: &str) -> String {
    let lower: String = sentence.nfkc().flat_map(char::to_lowercase).collect();
    lower.chars().filter(|character| character.is_alphanumeric()).collect()
}

/// Pairs of neighbouring characters; of a single character that one.
fn bigrams(text: &str) -> BTreeSet<u64> {
    let characters: Vec<u64> = text.chars().map(|character| u64::from(u32::from(character))).collect();
    match characters[..] {
        [only] => BTreeSet::from([only]),
        _ => characters.windows(2).map(|pair| pair[0] << 32 | pair[1]).collect(),
    }
}

/// A bigram as a 32-bit number.
fn mix(shingle: u64) -> u32 {
    (shingle >> 32) as u32 ^ (shingle as u32).wrapping_mul(0x9e37_79b9)
}

fn jaccard(a: &BTreeSet<u64>, b: &BTreeSet<u64>) -> f64 {
    let shared = a.intersection(b).count();
    shared as f64 / (a.len() + b.len() - shared).max(1) as f64
}

/// Sets of sentences that are joined; each points to an earlier one of its set, or to itself.
struct Links {
    earlier: Vec<u32>,
}

impl Links {
    fn new(sentences: usize) -> Self {
        Self { earlier: (0..sentences as u32).collect() }
    }

    fn first_of(&mut self, mut place: u32) -> u32 {
        while self.earlier[place as usize] != place {
            let next = self.earlier[place as usize];
            self.earlier[place as usize] = self.earlier[next as usize];
            place = next;
        }
        place
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.first_of(a), self.first_of(b));
        self.earlier[a.max(b) as usize] = a.min(b);
    }

    fn join_equal(&mut self, sentences: &[&str]) {
        let mut known: HashMap<String, u32> = HashMap::new();
        for (place, sentence) in (0..).zip(sentences) {
            let letters = letters(sentence);
            if !letters.is_empty() {
                let first = *known.entry(letters).or_insert(place);
                self.join(first, place);
            }
        }
    }

    fn join_similar(&mut self, places: &[u32], shingles: &[BTreeSet<u64>], threshold: f64) {
        for (index, a) in places.iter().enumerate() {
            for b in &places[index + 1..] {
                if self.first_of(*a) != self.first_of(*b)
                    && jaccard(&shingles[*a as usize], &shingles[*b as usize]) >= threshold
                {
                    self.join(*a, *b);
                }
            }
        }
    }

    fn classes(mut self) -> SentenceClasses {
        let mut class_of = vec![0; self.earlier.len()];
        let mut count = 0;
        for place in 0..self.earlier.len() {
            let first = self.first_of(place as u32) as usize;
            class_of[place] = if first == place { count } else { class_of[first] };
            count += u32::from(first == place);
        }
        SentenceClasses { class_of, count: count as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_signs_alone_is_one_class() {
        let sentences =
            ["花呗怎么还款？", "花呗怎么还款", "!!", "Ａpp 打不开", "app打不开了", "APP打不开", "??"];
        let classes = SentenceClasses::by_text(&sentences);
        assert_eq!(classes.class_of, [0, 0, 1, 2, 3, 2, 4]);
        assert_eq!(classes.count, 5);
    }

    /// Against the index of every pair, and the chains that follow from them.
    #[test]
    fn near_texts_are_those_of_a_comparison_of_all_pairs() {
        let sentence = |number: u32| -> String {
            let sign = |place: u32| char::from_u32(0x4e00 + uniform_bits(u64::from(number / 5), place) % 400);
            let mut signs: Vec<char> = (0..12).filter_map(sign).collect();
            // Variants of one text: a sign changed at another place each.
            signs[(number % 5 * 2) as usize] = '一';
            signs.into_iter().collect()
        };
        let sentences: Vec<String> = (0..200).map(sentence).collect();
        let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
        let threshold = 0.45;
        let found = SentenceClasses::by_near_text(&sentences, threshold, Stream::from_seed(1)).unwrap();
        let shingles: Vec<_> = sentences.iter().map(|sentence| bigrams(&letters(sentence))).collect();
        let mut links = Links::new(sentences.len());
        links.join_equal(&sentences);
        links.join_similar(&(0..200).collect::<Vec<u32>>(), &shingles, threshold);
        assert_eq!(found, links.classes());
        assert!((20..120).contains(&found.count), "{}", found.count);
        let strict = SentenceClasses::by_near_text(&sentences, 1.0, Stream::from_seed(1)).unwrap();
        assert_eq!(strict, SentenceClasses::by_text(&sentences));
    }

    #[test]
    fn a_threshold_out_of_range_is_refused() {
        for threshold in [0.0, 1.1, f64::NAN] {
            assert!(SentenceClasses::by_near_text(&["a"], threshold, Stream::from_seed(1)).is_err());
        }
    }
}
