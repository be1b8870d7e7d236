//! Mean of character vectors, random or given.

use std::collections::BTreeMap;
use std::path::Path;

use rand_distr::{Distribution as _, StandardNormal};
use simcse_model::vectors::TokenVectors;
use simcse_random::Stream;

use crate::embedder::{Embedded, Embedder};

/// Size of the random vectors: that of the given ones, so that only their content differs.
const RANDOM_SIZE: usize = 300;

/// Mean of one standard normal vector for each character, blanks left out: a bag of characters seen through a
/// random projection. The vector of a character depends on the seed and the character alone.
#[derive(Debug, Clone, Copy)]
pub struct MeanRandomVectors {
    stream: Stream,
}

impl MeanRandomVectors {
    /// Vectors of this seed.
    pub fn new(seed: u64) -> Self {
        Self { stream: Stream::from_seed(seed).named("random-character-vectors") }
    }
}

impl Embedder for MeanRandomVectors {
    fn embedding_size(&self) -> usize {
        RANDOM_SIZE
    }

    fn embed(&self, sentences: &[&str]) -> anyhow::Result<Embedded> {
        let mut drawn: BTreeMap<char, Vec<f32>> = BTreeMap::new();
        for character in sentences.iter().flat_map(|sentence| sentence.chars()) {
            drawn.entry(character).or_insert_with(|| {
                let rng = self.stream.fold(u64::from(u32::from(character))).rng();
                StandardNormal.sample_iter(rng).take(RANDOM_SIZE).collect()
            });
        }
        let embeddings = means(sentences, RANDOM_SIZE, |character| drawn.get(&character).map(Vec::as_slice));
        Ok(Embedded { embeddings, truncated: 0 })
    }
}

/// Mean of the given vectors of the characters of a sentence. A character without a vector is tried in lower
/// case, then left out; a sentence without any is the zero vector.
#[derive(Debug)]
pub struct MeanGivenVectors {
    vectors: TokenVectors,
}

impl MeanGivenVectors {
    /// Reads vectors; for the formats see [`TokenVectors::load`].
    ///
    /// # Errors
    /// As [`TokenVectors::load`].
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { vectors: TokenVectors::load(path)? })
    }
}

impl Embedder for MeanGivenVectors {
    fn embedding_size(&self) -> usize {
        self.vectors.size()
    }

    fn embed(&self, sentences: &[&str]) -> anyhow::Result<Embedded> {
        let lower = |character: char| character.to_lowercase().collect::<String>();
        let embeddings = means(sentences, self.vectors.size(), |character| {
            let exact = self.vectors.get(character.encode_utf8(&mut [0; 4]));
            exact.or_else(|| self.vectors.get(&lower(character)))
        });
        Ok(Embedded { embeddings, truncated: 0 })
    }
}

/// Row-major `[n, size]`: the mean over the characters, blanks left out, of those that have a vector.
///
/// Characters are added in sorted order: sentences of the same characters then have the same mean to the last
/// bit, and their cosine of 1 ties with that of any other such pair, as it must (PAWS-X is made of them).
fn means<'a>(sentences: &[&str], size: usize, vector: impl Fn(char) -> Option<&'a [f32]>) -> Vec<f32> {
    let mut embeddings = Vec::with_capacity(sentences.len() * size);
    for sentence in sentences {
        let mut characters: Vec<char> =
            sentence.chars().filter(|character| !character.is_whitespace()).collect();
        characters.sort_unstable();
        let mut sum = vec![0.0_f64; size];
        let mut count = 0_u32;
        for values in characters.into_iter().filter_map(&vector) {
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
            count += 1;
        }
        let divisor = f64::from(count.max(1));
        embeddings.extend(sum.into_iter().map(|sum| (sum / divisor) as f32));
    }
    embeddings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_vectors_depend_on_seed_and_character_alone() {
        let embedder = MeanRandomVectors::new(1);
        let alone = embedder.embed(&["花"]).unwrap().embeddings;
        assert_eq!(embedder.embed(&["x", " 花 "]).unwrap().embeddings[RANDOM_SIZE..], alone);
        assert_ne!(MeanRandomVectors::new(2).embed(&["花"]).unwrap().embeddings, alone);
        // 300 draws of a standard normal: mean 0 ± 5 / sqrt(300), mean square 1 ± 5 sqrt(2 / 300).
        let mean = alone.iter().sum::<f32>() / 300.0;
        let square = alone.iter().map(|value| value * value).sum::<f32>() / 300.0;
        assert!(mean.abs() < 0.29 && (square - 1.0).abs() < 0.41, "{mean} {square}");
    }

    /// 1e20 + 1 - 1e20 is 0 and 1e20 - 1e20 + 1 is 1, even in float64: only a fixed order gives one answer.
    #[test]
    fn the_order_of_characters_does_not_count_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.txt");
        std::fs::write(&path, "a 1e20 0\nb -1e20 0\nc 1 1\n").unwrap();
        let embeddings = MeanGivenVectors::load(&path).unwrap().embed(&["abc", "acb"]).unwrap().embeddings;
        let (first, second) = embeddings.split_at(2);
        assert_eq!(first, second);
        assert_eq!(crate::metrics::cosine(first, second), 1.0);
    }

    #[test]
    fn given_vectors_are_averaged_over_known_characters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.txt");
        std::fs::write(&path, "花 1 2\n呗 3 -2\na 8 8\n").unwrap();
        let embedder = MeanGivenVectors::load(&path).unwrap();
        let embeddings = embedder.embed(&["花 呗?", "花花呗", "?", "A"]).unwrap().embeddings;
        let third = 1.0 / 3.0;
        let expected = [2.0, 0.0, 5.0 * third, 2.0 * third, 0.0, 0.0, 8.0, 8.0];
        assert!(
            embeddings.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6),
            "{embeddings:?}"
        );
    }
}
