use candle_core::{D, DType, Device, Tensor};
use simcse_ops::Segments;
use simcse_ops::attention::{attention, attention_at};
use simcse_ops::dropout::DropoutMasks;
use simcse_ops::simd::Level;

use crate::support::{assert_close, compare, factors, masks, numbers, segments};

/// Vaswani et al. 2017, equation 1, sentence by sentence and head by head.
fn plain(projected: &Tensor, heads: usize, lengths: &[usize], masks: Option<&DropoutMasks>) -> Tensor {
    let size = projected.dims()[1] / 3;
    let head_size = size / heads;
    let mut first = 0;
    let mut sentences = Vec::new();
    for (sentence, &length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
        let tokens = projected.narrow(0, first, length).unwrap();
        first += length;
        let factors = masks.map(|masks| factors(masks, sentence, heads * length * length));
        let head = |head: usize| {
            let part = |part: usize| tokens.narrow(1, part * size + head * head_size, head_size).unwrap();
            let logits = (part(0).contiguous().unwrap().matmul(&part(1).t().unwrap()).unwrap()
                / (head_size as f64).sqrt())
            .unwrap();
            let powers = logits.broadcast_sub(&logits.max_keepdim(D::Minus1).unwrap().detach()).unwrap();
            let powers = powers.exp().unwrap();
            let mut probabilities = powers.broadcast_div(&powers.sum_keepdim(D::Minus1).unwrap()).unwrap();
            if let Some(factors) = &factors {
                let factors = factors.narrow(0, head * length * length, length * length).unwrap();
                probabilities = (probabilities * factors.reshape((length, length)).unwrap()).unwrap();
            }
            probabilities.matmul(&part(2).contiguous().unwrap()).unwrap()
        };
        sentences.push(Tensor::cat(&(0..heads).map(head).collect::<Vec<_>>(), 1).unwrap());
    }
    Tensor::cat(&sentences, 0).unwrap()
}

#[test]
fn equals_the_plain_form_with_and_without_dropout() {
    let (segments, lengths) = segments();
    for (heads, head_size) in [(1, 1), (3, 26), (2, 32)] {
        let inputs = [numbers(&[segments.tokens(), 3 * heads * head_size], 5)];
        for level in Level::available() {
            for masks in [None, Some(masks(0.25, lengths.len(), "probabilities"))] {
                compare(
                    &inputs,
                    &format!("{level:?}, {heads} heads of {head_size}, dropout {}", masks.is_some()),
                    |x| attention_at(level, &x[0], heads, &segments, masks.as_ref()).unwrap(),
                    |x| plain(&x[0], heads, &lengths, masks.as_ref()),
                );
            }
        }
    }
}

/// A sentence of 512 tokens.
#[test]
fn long_sentences_are_right() {
    let segments = Segments::new(&[0, 512]).unwrap();
    let inputs = [numbers(&[512, 3 * 8], 6)];
    compare(
        &inputs,
        "512 tokens",
        |x| attention(&x[0], 2, &segments, None).unwrap(),
        |x| plain(&x[0], 2, &[512], None),
    );
}

/// Logits of some hundreds overflow in a softmax without a shift. Rounding moves them by about 1e-5, hence the
/// tolerance.
#[test]
fn large_logits_do_not_overflow() {
    let segments = Segments::new(&[0, 5]).unwrap();
    let input = (numbers(&[5, 3 * 8], 6) * 20.0).unwrap();
    let got = attention(&input, 1, &segments, None).unwrap();
    let want = plain(&input.to_dtype(DType::F64).unwrap(), 1, &[5], None);
    assert!(input.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 1e4);
    assert_close(&got, &want, 1e-4, "large logits");
}

#[test]
fn a_sentence_sees_itself_alone() {
    let (segments, lengths) = segments();
    let batch = numbers(&[segments.tokens(), 24], 7);
    let masks = masks(0.25, lengths.len(), "probabilities");
    let together = attention(&batch, 2, &segments, Some(&masks)).unwrap();
    let alone = Segments::new(&[0, 7]).unwrap();
    let first_mask = crate::support::masks(0.25, 1, "probabilities");
    let first = attention(&batch.narrow(0, 0, 7).unwrap(), 2, &alone, Some(&first_mask)).unwrap();
    assert_close(&together.narrow(0, 0, 7).unwrap(), &first, 0.0, "first sentence");
}

#[test]
fn wrong_inputs_are_named() {
    let segments = Segments::new(&[0, 2]).unwrap();
    let message = |tokens: usize, columns: usize, heads: usize, rows: usize| {
        let input = Tensor::zeros((tokens, columns), DType::F32, &Device::Cpu).unwrap();
        attention(&input, heads, &segments, Some(&masks(0.1, rows, "x"))).unwrap_err().to_string()
    };
    assert!(message(2, 10, 2, 1).contains("10 columns are not"));
    assert!(message(3, 12, 2, 1).contains("the segments hold 2 tokens"));
    assert!(message(2, 12, 2, 2).contains("2 dropout masks for 1 sentences"));
}
