//! Sentences as classes, and what their centres begin with.

use anyhow::Result;
use candle_core::Tensor;
use simcse_data::{SentenceClasses, TokenBatch};
use simcse_losses::{InitialCentres, MarginSoftmaxConfig, l2_normalize};
use simcse_model::{Mode, SentenceEncoder};
use simcse_random::Stream;
use simcse_train::class_table::ClassTable;
use simcse_train::objective::ClassMargin;

use super::prepare::Prepared;
use crate::config::RunConfig;

/// Sentences, evenly taken from the corpus, whose class accuracy is measured at the end.
const PROBE: usize = 2_000;
/// Sentences that are embedded at a time.
const ROWS: usize = 64;

/// The classes of the corpus, near-duplicates joined where the configuration asks for it.
pub(super) fn classes(
    config: &MarginSoftmaxConfig,
    sentences: &[&str],
    stream: Stream,
) -> Result<SentenceClasses> {
    Ok(match config.near_duplicates {
        Some(threshold) => SentenceClasses::by_near_text(sentences, threshold, stream)?,
        None => SentenceClasses::by_text(sentences),
    })
}

/// The loss over the classes of the corpus.
pub(super) fn objective(
    margin: &MarginSoftmaxConfig,
    config: &RunConfig,
    prepared: &Prepared,
    stream: Stream,
) -> Result<ClassMargin> {
    let SentenceClasses { class_of, count } = classes(margin, &prepared.corpus.as_strs(), stream)?;
    let encoder = prepared.start.encoder.encoder.as_dyn();
    let embeddings = || first_embeddings(encoder, &prepared.tokenized.sequences, &class_of, count);
    let table = match margin.initial_centres {
        InitialCentres::Random => {
            ClassTable::random(count, margin.sub_centres, encoder.embedding_size(), stream)?
        }
        InitialCentres::Embeddings => ClassTable::new(&embeddings()?, margin.sub_centres)?,
        InitialCentres::CentredEmbeddings => ClassTable::new(&centred(&embeddings()?)?, margin.sub_centres)?,
    };
    let sequences = &prepared.tokenized.sequences;
    let every = sequences.len().div_ceil(PROBE).max(1);
    let sentences = sequences.iter().cloned().zip(class_of.iter().copied());
    let probe = sentences.step_by(every).collect();
    Ok(ClassMargin::new(margin.clone(), table, class_of, &config.train, stream)?.with_probe(probe))
}

/// The embedding of each class's first sentence, dropout off, `[C, D]`.
fn first_embeddings(
    encoder: &dyn SentenceEncoder,
    sequences: &[Vec<u32>],
    class_of: &[u32],
    count: usize,
) -> Result<Tensor> {
    let mut first: Vec<Option<&[u32]>> = vec![None; count];
    for (sequence, class) in sequences.iter().zip(class_of) {
        first[*class as usize].get_or_insert(sequence);
    }
    let first: Vec<&[u32]> = first.into_iter().flatten().collect();
    let embed = |rows: &[&[u32]]| -> Result<Tensor> {
        Ok(encoder.forward(&TokenBatch::from_sequences(rows)?, Mode::Evaluate)?.detach())
    };
    Ok(Tensor::cat(&first.chunks(ROWS).map(embed).collect::<Result<Vec<_>>>()?, 0)?)
}

/// Embeddings `[C, D]` at unit length, less their mean, at unit length again.
fn centred(embeddings: &Tensor) -> Result<Tensor> {
    let unit = l2_normalize(embeddings)?;
    Ok(l2_normalize(&unit.broadcast_sub(&unit.mean_keepdim(0)?)?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn what_all_share_is_taken_away() {
        // Lengths 5, 10 and 2 in a plane, and a direction that all of them share.
        let embeddings =
            Tensor::new(&[[3_f32, 0., 4.], [-6., 0., 8.], [0., 1.2, 1.6]], &Device::Cpu).unwrap();
        let found: Vec<Vec<f32>> = centred(&embeddings).unwrap().to_vec2().unwrap();
        // Unit vectors (.6, 0, .8), (-.6, 0, .8), (0, .6, .8); less their mean (0, .2, .8).
        let want = [[0.6_f32, -0.2, 0.], [-0.6, -0.2, 0.], [0., 0.4, 0.]];
        for (found, want) in found.iter().zip(want) {
            let length = want.iter().map(|value| value * value).sum::<f32>().sqrt();
            assert!(found.iter().zip(want).all(|(a, b)| (a - b / length).abs() < 1e-6), "{found:?}");
        }
    }
}
