//! CoSENT over labelled pairs.

use candle_core::{DType, Tensor};
use simcse_losses::{CosentConfig, LossError, Similarity, cosent};

use super::{Diagnostics, LossContext, Objective, StepLoss};
use crate::{Result, StepBatch};

/// CoSENT (Su Jianlin 2022): cosines of pairs in the order of their gold values.
#[derive(Debug, Clone)]
pub struct Cosent {
    /// The scale.
    pub config: CosentConfig,
}

impl Objective for Cosent {
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch, context: LossContext) -> Result<StepLoss> {
        if !batch.hard_negative_owners.is_empty() {
            let problem = "labelled pairs have no hard negatives, the batch has some; fix: train on triplets";
            return Err(LossError::Embeddings(problem.to_owned()).into());
        }
        let first = embeddings.narrow(0, 0, batch.sentences)?; // [B, D]
        let second = embeddings.narrow(0, batch.sentences, batch.sentences)?; // [B, D]
        let loss = cosent(&first, &second, &batch.gold, &self.config)?;
        let diagnostics = if context.diagnose {
            Some(diagnostics(&first.detach(), &second.detach(), batch)?)
        } else {
            None
        };
        Ok(StepLoss { loss, diagnostics })
    }
}

/// The order of the pairs' cosines against gold, and how alike sentences are that form no pair.
fn diagnostics(first: &Tensor, second: &Tensor, batch: &StepBatch) -> Result<Diagnostics> {
    let cosines = Similarity::Cosine.matrix(first, second)?.to_dtype(DType::F64)?.to_vec2::<f64>()?; // [B, B]
    let groups = batch.row_groups();
    let (mut unrelated_sum, mut unrelated) = (0.0, 0_u64);
    let (mut right, mut couples) = (0_u64, 0_u64);
    for row in 0..batch.sentences {
        for column in 0..batch.sentences {
            if row != column && groups.anchors[row] != groups.positives[column] {
                unrelated_sum += cosines[row][column];
                unrelated += 1;
            }
            if batch.gold[row] > batch.gold[column] {
                couples += 1;
                right += u64::from(cosines[row][row] > cosines[column][column]);
            }
        }
    }
    Ok(Diagnostics {
        positive_cosine: None,
        negative_cosine: (unrelated > 0).then(|| unrelated_sum / unrelated as f64),
        accuracy: (couples > 0).then(|| right as f64 / couples as f64),
        chance_loss: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use simcse_data::TokenBatch;

    /// Cosines of the pairs: 1, 0, 0.6, 0.8; pair 3 ends with the first sentence of pair 0.
    #[test]
    fn order_and_unrelated_sentences_are_seen() {
        let rows: [[f32; 2]; 8] = [
            [2.0, 0.0],
            [0.0, 1.0],
            [0.6, 0.8],
            [0.8, 0.6], //
            [1.0, 0.0],
            [1.0, 0.0],
            [1.0, 0.0],
            [3.0, 0.0],
        ];
        let batch = StepBatch {
            tokens: TokenBatch::from_sequences(&[[5]; 4]).unwrap().with_views(2).unwrap(),
            sentences: 4,
            views: 2,
            groups: vec![0, 1, 2, 3, 4, 5, 6, 0],
            hard_negative_owners: Vec::new(),
            gold: vec![5.0, 1.0, 3.0, 3.0],
        };
        let embeddings = Tensor::new(&rows, &Device::Cpu).unwrap();
        let objective = Cosent { config: CosentConfig { scale: 20.0 } };
        let seen = objective.loss(&embeddings, &batch, LossContext::LOOK).unwrap().diagnostics.unwrap();
        assert_eq!((seen.positive_cosine, seen.chance_loss), (None, None));
        // Every second sentence is (1, 0): off the diagonal 3 · (1 + 0 + 0.6 + 0.8), less the equal texts (0, 3).
        let unrelated = (3.0 * 2.4 - 1.0) / 11.0;
        assert!((seen.negative_cosine.unwrap() - unrelated).abs() < 1e-6, "{seen:?}");
        // Couples with different gold: (0, 1), (0, 2), (0, 3), (2, 1), (3, 1), all in order.
        assert_eq!(seen.accuracy, Some(1.0));
        let batch = StepBatch { gold: vec![1.0, 5.0, 3.0, 3.0], ..batch };
        // Now (1, 0), (1, 2), (1, 3), (2, 0), (3, 0), none in order.
        assert_eq!(
            objective.loss(&embeddings, &batch, LossContext::LOOK).unwrap().diagnostics.unwrap().accuracy,
            Some(0.0)
        );
        let batch = StepBatch { gold: vec![5.0, 1.0, 4.0, 3.0], ..batch };
        // (2, 3) is the one of six that is out of order.
        let seen = objective.loss(&embeddings, &batch, LossContext::LOOK).unwrap().diagnostics.unwrap();
        let accuracy = seen.accuracy.unwrap();
        assert!((accuracy - 5.0 / 6.0).abs() < 1e-12, "{accuracy}");
        let batch = StepBatch { gold: vec![2.0; 4], ..batch };
        let seen = objective.loss(&embeddings, &batch, LossContext::LOOK).unwrap().diagnostics.unwrap();
        assert_eq!(seen.accuracy, None, "there is nothing to rank");
    }
}
