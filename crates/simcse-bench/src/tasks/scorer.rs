//! From pairs to scores.

use simcse_data::ScoredPair;

use crate::embedder::EmbeddedSentences;
use crate::metrics::cosine;

/// Anything that scores pairs of sentences; higher means more alike.
pub trait PairScorer {
    /// One score for each pair, in their order. The gold score of a pair must not be looked at.
    ///
    /// # Errors
    /// Whatever keeps a pair from being scored.
    fn score(&self, pairs: &[ScoredPair]) -> anyhow::Result<Vec<f64>>;
}

/// The cosine of the embeddings of the two sentences.
#[derive(Debug)]
pub struct CosineScorer<'a> {
    /// Embeddings of all sentences of the pairs.
    pub embedded: &'a EmbeddedSentences,
}

impl PairScorer for CosineScorer<'_> {
    fn score(&self, pairs: &[ScoredPair]) -> anyhow::Result<Vec<f64>> {
        let score =
            |pair: &ScoredPair| Ok(cosine(self.embedded.get(&pair.first)?, self.embedded.get(&pair.second)?));
        pairs.iter().map(score).collect()
    }
}
