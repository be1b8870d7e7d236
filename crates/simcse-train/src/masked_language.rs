//! Masked language modelling (Devlin et al. 2019, section 3.1) beside a contrastive loss, which keeps what the
//! encoder knows of tokens: loss + λ · masked language modelling (Gao et al. 2021).

use std::ops::Range;

use candle_core::Tensor;
use simcse_data::{MaskedTokens, TokenMasker};
use simcse_losses::masked_lm_loss;
use simcse_model::{DropoutStream, Mode, TokenEncoder};
use simcse_random::Stream;

use crate::auxiliary::Auxiliary;
use crate::config::check;
use crate::{Result, StepBatch};

/// Mean cross-entropy of the masked tokens of all anchors.
pub struct MaskedLanguage<'a> {
    encoder: &'a dyn TokenEncoder,
    masker: TokenMasker,
    weight: f64,
}

impl<'a> MaskedLanguage<'a> {
    /// `encoder` is the one in training. Fails unless `weight` (λ) is a number above 0.
    pub fn new(encoder: &'a dyn TokenEncoder, masker: TokenMasker, weight: f64) -> Result<Self> {
        check("masked_language.weight", weight, weight > 0.0, "give a number above 0, such as 0.1")?;
        Ok(Self { encoder, masker, weight })
    }
}

impl Auxiliary for MaskedLanguage<'_> {
    fn loss(
        &self,
        batch: &StepBatch,
        anchors: Range<usize>,
        stream: Stream,
        step: u64,
    ) -> Result<Option<Tensor>> {
        let tokens = batch.tokens.slice(batch.anchors())?;
        // All anchors are masked whatever the piece: the mean is over the masked tokens of the whole batch.
        let masked = self.masker.mask(&tokens, stream.named("masking").fold(step))?;
        let (count, masked) = (masked.positions.len(), piece(&masked, anchors)?);
        if masked.positions.is_empty() {
            return Ok(None);
        }
        let mode = Mode::Train(DropoutStream::new(stream, step));
        let logits = self.encoder.masked_lm_logits(&masked.tokens, &masked.positions, mode)?; // [M, V]
        let loss = masked_lm_loss(&logits, &masked.targets)?;
        Ok(Some((loss * (masked.positions.len() as f64 / count as f64))?))
    }

    fn weight(&self) -> f64 {
        self.weight
    }
}

/// The masked tokens of these rows.
fn piece(masked: &MaskedTokens, rows: Range<usize>) -> Result<MaskedTokens> {
    let offsets = masked.tokens.offsets();
    let (start, end) = (offsets[rows.start], offsets[rows.end]);
    let inside = masked.positions.iter().zip(&masked.targets).filter(|(at, _)| (start..end).contains(*at));
    let (positions, targets) = inside.map(|(at, target)| (at - start, *target)).unzip();
    Ok(MaskedTokens { tokens: masked.tokens.slice(rows)?, positions, targets })
}
