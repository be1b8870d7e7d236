//! Overlap of characters.

use simcse_data::ScoredPair;

use crate::tasks::PairScorer;

/// Jaccard index of the two sets of characters: shared over all, blanks left out. Two sentences without a
/// character have 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CharacterJaccard;

impl PairScorer for CharacterJaccard {
    fn score(&self, pairs: &[ScoredPair]) -> anyhow::Result<Vec<f64>> {
        Ok(pairs.iter().map(|pair| jaccard(&pair.first, &pair.second)).collect())
    }
}

fn jaccard(first: &str, second: &str) -> f64 {
    let (first, second) = (characters(first), characters(second));
    let shared = first.iter().filter(|character| second.binary_search(character).is_ok()).count();
    let all = first.len() + second.len() - shared;
    if all == 0 { 0.0 } else { shared as f64 / all as f64 }
}

/// The different characters of a sentence, sorted.
fn characters(sentence: &str) -> Vec<char> {
    let mut characters: Vec<char> = sentence.chars().filter(|character| !character.is_whitespace()).collect();
    characters.sort_unstable();
    characters.dedup();
    characters
}

#[cfg(test)]
mod tests {
    use super::*;

    // len(set("花呗怎么还款") & set("怎么还花花呗")) / len(set("花呗怎么还款") | set("怎么还花花呗"))  ->  5 / 6
    #[test]
    fn shared_over_all() {
        assert_eq!(jaccard("花呗怎么还款", "怎么 还花花呗"), 5.0 / 6.0);
        assert_eq!(jaccard("ab", "cd"), 0.0);
        assert_eq!(jaccard("", " "), 0.0);
    }
}
