//! Sentences to embeddings: the one way in which evaluation, export and users embed text.

use std::borrow::Cow;

use simcse_data::{SentenceTokenizer, TokenBatch};
use simcse_ops::profile;

use crate::{Mode, Result, SentenceEncoder};

/// Tokens of a batch: enough for the kernels, and few enough for its states to stay in the third-level cache.
const TOKENS_OF_A_BATCH: usize = 2048;

/// Embeddings and what was lost on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Row-major `[n, D]`, in the order of the sentences, not normalised.
    pub embeddings: Vec<f32>,
    /// Number of sentences that were cut at `max_tokens`.
    pub truncated: usize,
}

/// `sentences` with `prefix` before each, as an encoder wants that was trained so (e5: `query: `).
pub fn with_prefix<'a>(prefix: &str, sentences: &[&'a str]) -> Vec<Cow<'a, str>> {
    let join = |sentence: &&'a str| match prefix {
        "" => Cow::Borrowed(*sentence),
        prefix => Cow::Owned(format!("{prefix}{sentence}")),
    };
    sentences.iter().map(join).collect()
}

/// Embeds `sentences` with dropout off, long sentences first, so that a batch that does not fit into
/// memory fails at once. The result does not depend on the order (up to rounding in matrix products).
pub fn embed(
    encoder: &dyn SentenceEncoder,
    tokenizer: &dyn SentenceTokenizer,
    max_tokens: usize,
    sentences: &[&str],
) -> Result<Embedded> {
    let phase = profile::phase("tokens");
    let tokenized = tokenizer.encode_all(sentences, max_tokens);
    drop(phase);
    let _phase = profile::phase("network");
    let sequences = &tokenized.sequences;
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(sequences[*index].len()));
    let size = encoder.embedding_size();
    let mut embeddings = vec![0.0; sequences.len() * size];
    let mut rest = order.as_slice();
    while let Some(&longest) = rest.first() {
        let count = (TOKENS_OF_A_BATCH / sequences[longest].len()).clamp(1, rest.len());
        let (batch, tail) = rest.split_at(count);
        rest = tail;
        let rows: Vec<&[u32]> = batch.iter().map(|index| sequences[*index].as_slice()).collect();
        let output = encoder.forward(&TokenBatch::from_sequences(&rows)?, Mode::Evaluate)?;
        let values: Vec<f32> = output.flatten_all()?.to_vec1()?;
        for (row, &index) in values.chunks(size).zip(batch) {
            embeddings[index * size..(index + 1) * size].copy_from_slice(row);
        }
    }
    Ok(Embedded { embeddings, truncated: tokenized.truncated })
}
