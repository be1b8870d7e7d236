//! Large batches at the memory of small ones (Gao et al. 2021b, "Scaling Deep Contrastive Learning Batch
//! Size under Memory Limited Setup").
//!
//! A contrastive loss needs the embeddings of the whole batch, but its gradient at the parameters falls
//! apart by rows once the gradient at the embeddings is known:
//!
//! 1. embed the batch piece by piece and forget how each piece came about;
//! 2. the loss over all embeddings, and its gradient `G` `[rows, D]` at them;
//! 3. embed each piece again, with its graph, and go backward from Σ G ⊙ embeddings; sum over the pieces.
//!
//! Dropout masks belong to (step, site, view, sentence) and travel with a slice of a batch, so the second
//! forward of a piece sees those of the first and the gradient is that of one big batch, up to the order of
//! sums. The last piece is not forgotten in the first pass: there is one graph at any time either way, and it
//! saves a forward.

use std::ops::Range;

use candle_core::{Tensor, Var};
use simcse_data::TokenBatch;
use simcse_model::{Mode, ParameterSet, SentenceEncoder};

use simcse_ops::gradients::{Gradients, backward};

use crate::Result;

/// The forward pass of a step, from which gradients can be taken once there is a loss.
pub(crate) struct Forward<'a> {
    encoder: &'a dyn SentenceEncoder,
    tokens: &'a TokenBatch,
    mode: Mode,
    pieces: Vec<Range<usize>>,
    embeddings: Tensor,
    /// The embeddings of the last piece with their graph; `None` when `embeddings` have theirs.
    last: Option<Tensor>,
}

impl<'a> Forward<'a> {
    /// Embeds `tokens`, in pieces of `piece_rows` rows if there are more rows than that.
    pub(crate) fn new(
        encoder: &'a dyn SentenceEncoder,
        tokens: &'a TokenBatch,
        mode: Mode,
        piece_rows: Option<usize>,
    ) -> Result<Self> {
        let pieces = pieces(tokens.rows(), piece_rows);
        if pieces.len() == 1 {
            let embeddings = encoder.forward(tokens, mode)?;
            return Ok(Self { encoder, tokens, mode, pieces, embeddings, last: None });
        }
        let (parts, last) = embed_pieces(encoder, tokens, &pieces, mode)?;
        // A variable: the backward pass of the loss ends at it.
        let embeddings = Var::from_tensor(&Tensor::cat(&parts, 0)?)?.into_inner();
        Ok(Self { encoder, tokens, mode, pieces, embeddings, last: Some(last) })
    }

    /// `[rows, D]`.
    pub(crate) fn embeddings(&self) -> &Tensor {
        &self.embeddings
    }

    /// Gradients of `loss`, a function of [`Forward::embeddings`], by parameter.
    pub(crate) fn gradients(self, loss: &Tensor) -> Result<Gradients> {
        let mut of_loss = backward(loss)?;
        let Some(last) = self.last else { return Ok(of_loss) };
        // A loss that does not use the embeddings leaves all gradients missing, as it does without pieces.
        let Some(slopes) = of_loss.remove(&self.embeddings) else { return Ok(of_loss) };
        let slopes = slopes.to_whole(&self.embeddings)?;
        // Those that are left belong to parameters of the objective.
        let mut total = of_loss;
        let mut held = Some(last);
        for rows in self.pieces.iter().rev() {
            let embeddings = match held.take() {
                Some(embeddings) => embeddings,
                None => self.encoder.forward(&slice(self.tokens, rows)?, self.mode)?,
            };
            let slopes = slopes.narrow(0, rows.start, rows.len())?; // [r, D]
            let gradients = backward(&(embeddings * slopes)?.sum_all()?)?;
            accumulate(&mut total, gradients, self.encoder.parameters())?;
        }
        Ok(total)
    }
}

/// Embeddings `[rows, D]` without a graph, made of at most `piece_rows` rows at a time.
pub(crate) fn embed_in_pieces(
    encoder: &dyn SentenceEncoder,
    tokens: &TokenBatch,
    piece_rows: usize,
    mode: Mode,
) -> Result<Tensor> {
    let (parts, _) = embed_pieces(encoder, tokens, &pieces(tokens.rows(), Some(piece_rows)), mode)?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// The embeddings of each piece without a graph, and those of the last with its graph.
fn embed_pieces(
    encoder: &dyn SentenceEncoder,
    tokens: &TokenBatch,
    pieces: &[Range<usize>],
    mode: Mode,
) -> Result<(Vec<Tensor>, Tensor)> {
    let (mut parts, mut last) = (Vec::with_capacity(pieces.len()), None);
    for rows in pieces {
        drop(last.take()); // before the next graph is built
        let embeddings = encoder.forward(&slice(tokens, rows)?, mode)?;
        parts.push(embeddings.detach());
        last = Some(embeddings);
    }
    let last = last.ok_or_else(|| anyhow::anyhow!("a batch without rows; fix: give at least one"))?;
    Ok((parts, last))
}

/// Adds `gradients` of `parameters` to `total`; those of other tensors are let go.
pub(crate) fn accumulate(
    total: &mut Gradients,
    mut gradients: Gradients,
    parameters: &ParameterSet,
) -> Result<()> {
    for (_, variable) in parameters.iter() {
        let Some(gradient) = gradients.remove(variable) else { continue };
        total.add(variable, gradient)?;
    }
    Ok(())
}

/// `rows` rows in pieces of `piece_rows`, the last one smaller if it does not divide; one piece without.
pub(crate) fn pieces(rows: usize, piece_rows: Option<usize>) -> Vec<Range<usize>> {
    let size = piece_rows.unwrap_or(rows).max(1);
    (0..rows).step_by(size).map(|start| start..(start + size).min(rows)).collect()
}

fn slice(tokens: &TokenBatch, rows: &Range<usize>) -> Result<TokenBatch> {
    Ok(tokens.slice(rows.clone())?)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape};
    use simcse_losses::{Candidates, InfoNceConfig, Similarity, info_nce};
    use simcse_model::transformer::{Architecture, HiddenActivation};
    use simcse_model::{
        DropoutRates, DropoutStream, Pooling, TextCnn, TextCnnConfig, Transformer, TransformerConfig,
        TransformerOptions,
    };
    use simcse_random::Stream;

    use super::*;

    const SENTENCES: usize = 6;

    fn text_cnn() -> TextCnn {
        let config = TextCnnConfig {
            embedding_size: 8,
            widths: vec![1, 2, 3],
            maps: 5,
            embedding_dropout: 0.2,
            output_dropout: 0.3,
            projection_size: Some(12),
        };
        TextCnn::new(config, 20, Stream::from_seed(1)).unwrap()
    }

    fn transformer() -> Transformer {
        let config = TransformerConfig {
            architecture: Architecture::Bert,
            vocab_size: 20,
            embedding_size: 16,
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 24,
            hidden_act: HiddenActivation::Gelu,
            max_position_embeddings: 12,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
        };
        let options = TransformerOptions {
            dropout: DropoutRates::new(0.1, 0.2),
            ..TransformerOptions::evaluation(Pooling::ClsTanhInTraining)
        };
        Transformer::new(config, &options, Stream::from_seed(1)).unwrap()
    }

    /// Two views of six sentences of 1 to 8 tokens.
    fn tokens() -> TokenBatch {
        let sentence = |s: usize| (0..1 + s * 7 % 9).map(|t| ((s * 5 + t * 3) % 18 + 2) as u32).collect();
        let sentences: Vec<Vec<u32>> = (0..SENTENCES).map(sentence).collect();
        TokenBatch::from_sequences(&sentences).unwrap().with_views(2).unwrap()
    }

    fn mode(step: u64) -> Mode {
        Mode::Train(DropoutStream::new(Stream::from_seed(3), step))
    }

    fn loss(embeddings: &Tensor) -> Tensor {
        let config = InfoNceConfig {
            candidates: Candidates::BothViews,
            symmetric: true,
            similarity: Similarity::Cosine,
            temperature: 0.05,
            margin: None,
            shared_dropout_mask: false,
            hard_negative_weight: None,
            queue: None,
        };
        let view = |view| embeddings.narrow(0, view * SENTENCES, SENTENCES).unwrap();
        info_nce(&view(0), &view(1), &config, None).unwrap().mean().unwrap()
    }

    /// Gradient of each parameter, by name.
    fn gradients(encoder: &dyn SentenceEncoder, mode: Mode, piece_rows: Option<usize>) -> Vec<Vec<f32>> {
        let tokens = tokens();
        let forward = Forward::new(encoder, &tokens, mode, piece_rows).unwrap();
        let loss = loss(forward.embeddings());
        let gradients = forward.gradients(&loss).unwrap();
        let flat = |variable: &Var| {
            gradients.whole(variable).unwrap().unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        encoder.parameters().iter().map(|(_, variable)| flat(variable)).collect()
    }

    fn norm(values: impl Iterator<Item = f32>) -> f64 {
        values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    }

    /// The largest distance of a parameter's gradients, relative to their size. A gradient that is 0 but for
    /// rounding (attention's key bias) is measured against a thousandth of all of them.
    fn distance(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> f64 {
        let floor = 1e-3 * norm(wanted.iter().flatten().copied());
        let each = found.iter().zip(wanted).map(|(found, wanted)| {
            let difference = norm(found.iter().zip(wanted).map(|(a, b)| a - b));
            difference / norm(wanted.iter().copied()).max(floor)
        });
        // `max` would pass over what is no number.
        each.fold(0.0, |most, distance| if distance <= most { most } else { distance })
    }

    #[test]
    fn pieces_have_the_gradients_of_the_whole_batch_with_its_masks() {
        let encoders: [Box<dyn SentenceEncoder>; 2] = [Box::new(text_cnn()), Box::new(transformer())];
        for encoder in encoders {
            let whole = gradients(encoder.as_ref(), mode(5), None);
            // 12 rows: pieces that divide them, that do not, that part a view, and of one row.
            for rows in [1, 2, 5, 6, 7, 11] {
                let found = distance(&gradients(encoder.as_ref(), mode(5), Some(rows)), &whole);
                assert!(found < 1e-5, "pieces of {rows} rows: {found:e}");
            }
            for rows in [12, 13] {
                assert_eq!(gradients(encoder.as_ref(), mode(5), Some(rows)), whole, "one piece is no pieces");
            }
            let other_masks = distance(&gradients(encoder.as_ref(), mode(6), None), &whole);
            assert!(other_masks > 1e-2, "masks would not be seen: {other_masks:e}");
        }
    }

    /// A network that counts how many of its graphs are alive, and notes the rows of each forward.
    struct Counting {
        network: TextCnn,
        alive: &'static AtomicUsize,
        most: AtomicUsize,
        rows: Mutex<Vec<usize>>,
    }

    impl SentenceEncoder for Counting {
        fn embedding_size(&self) -> usize {
            self.network.embedding_size()
        }

        fn forward(&self, batch: &TokenBatch, mode: Mode) -> CandleResult<Tensor> {
            self.rows.lock().unwrap().push(batch.rows());
            self.most.fetch_max(self.alive.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            self.network.forward(batch, mode)?.apply_op1(Node(self.alive))
        }

        fn parameters(&self) -> &ParameterSet {
            self.network.parameters()
        }

        fn copy(&self) -> CandleResult<Box<dyn SentenceEncoder>> {
            self.network.copy()
        }
    }

    /// The top of a graph: it is dropped with it.
    struct Node(&'static AtomicUsize);

    impl Drop for Node {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl CustomOp1 for Node {
        fn name(&self) -> &'static str {
            "node"
        }

        fn cpu_fwd(&self, input: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
            Ok((input.clone(), layout.shape().clone()))
        }

        fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> CandleResult<Option<Tensor>> {
            Ok(Some(gradient.clone()))
        }
    }

    #[test]
    fn one_graph_is_alive_at_a_time() {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let (most, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let encoder = Counting { network: text_cnn(), alive: &ALIVE, most, rows };
        let found = gradients(&encoder, mode(5), Some(5));
        assert!(distance(&found, &gradients(&text_cnn(), mode(5), None)) < 1e-5);
        assert_eq!(*encoder.rows.lock().unwrap(), [5, 5, 2, 5, 5], "the last piece is embedded once");
        assert_eq!((encoder.most.into_inner(), ALIVE.load(Ordering::SeqCst)), (1, 0));
    }
}
