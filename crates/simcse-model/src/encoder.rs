//! The contract between encoders and everything above them.

use candle_core::{Result, Tensor};
use simcse_data::TokenBatch;
use simcse_ops::dropout::DropoutMasks;
use simcse_random::Stream;

use crate::ParameterSet;

/// Maps a ragged batch of token ids to sentence embeddings.
pub trait SentenceEncoder: Send + Sync {
    /// Size `D` of an embedding.
    fn embedding_size(&self) -> usize;

    /// Embeddings `[rows, D]` of the rows of `batch`, not normalised.
    ///
    /// Without dropout the embedding of a row depends on that row alone. Fails when a token id lies
    /// outside the vocabulary.
    fn forward(&self, batch: &TokenBatch, mode: Mode) -> Result<Tensor>;

    /// The trainable parameters.
    fn parameters(&self) -> &ParameterSet;

    /// The same network with parameters of its own, of the same names and values: a momentum encoder.
    fn copy(&self) -> Result<Box<dyn SentenceEncoder>>;
}

/// An encoder that can also be trained as a masked language model (Devlin et al. 2019, section 3.1).
pub trait TokenEncoder: SentenceEncoder {
    /// Logits `[M, V]` over the vocabulary for the tokens at `positions` (`M` indices into `tokens.ids()`).
    ///
    /// Fails when the encoder was made without its head, when a position lies outside of the batch, when
    /// there is no position, and as [`SentenceEncoder::forward`].
    fn masked_lm_logits(&self, tokens: &TokenBatch, positions: &[u32], mode: Mode) -> Result<Tensor>;
}

/// What an embedding is for. Training without a stream of masks cannot be written.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// To learn from: dropout on, with the masks of this stream, and a graph for gradients.
    Train(DropoutStream),
    /// To be compared with embeddings of [`Mode::Train`]: layers that act in training only are there, dropout
    /// is not. Whether there is a graph is up to the encoder.
    TrainWithoutDropout,
    /// To be used: neither dropout nor what else acts in training only. Whether there is a graph is up to the
    /// encoder.
    Evaluate,
}

impl Mode {
    /// Whether layers act that an encoder has in training only.
    pub fn has_training_head(self) -> bool {
        matches!(self, Self::Train(_) | Self::TrainWithoutDropout)
    }

    /// The masks of one dropout site for a batch; `None` where dropout does not act.
    ///
    /// `site` names the place in the network and must be unique within the encoder.
    pub fn masks(self, site: &str, rate: f64, batch: &TokenBatch) -> Result<Option<DropoutMasks>> {
        match self {
            Self::Train(stream) if rate > 0.0 => stream.masks(site, rate, batch).map(Some),
            _ => Ok(None),
        }
    }
}

/// The dropout masks of one training step: mask = f(seed, step, site, view, sentence, position).
///
/// The position is counted within the sentence, so a mask does not depend on how sentences are batched.
#[derive(Debug, Clone, Copy)]
pub struct DropoutStream {
    stream: Stream,
}

impl DropoutStream {
    /// The masks of step number `step` of the run with this root stream.
    pub fn new(run: Stream, step: u64) -> Self {
        Self { stream: run.named("dropout").fold(step) }
    }

    fn masks(self, site: &str, rate: f64, batch: &TokenBatch) -> Result<DropoutMasks> {
        let stream = self.stream.named(site);
        let key = |(&view, &sentence): (&u32, &u32)| stream.fold(view.into()).fold(sentence.into()).key();
        DropoutMasks::new(rate as f32, batch.view().iter().zip(batch.sentence()).map(key).collect())
    }
}
