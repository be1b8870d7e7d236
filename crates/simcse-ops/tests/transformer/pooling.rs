use candle_core::Tensor;
use simcse_ops::pooling::{Reduction, pool};

use crate::support::{compare, numbers, segments};

/// Sentence by sentence with candle's reductions; an empty sentence is a row of zeros.
fn plain(states: &Tensor, lengths: &[usize], reduction: Reduction) -> Tensor {
    let mut first = 0;
    let rows = lengths.iter().map(|&length| {
        let start = first;
        first += length;
        if length == 0 {
            return (states.narrow(0, 0, 1).unwrap() * 0.0).unwrap();
        }
        let tokens = states.narrow(0, start, length).unwrap();
        match reduction {
            Reduction::First => tokens.narrow(0, 0, 1).unwrap(),
            Reduction::Mean => tokens.mean_keepdim(0).unwrap(),
            Reduction::Max => tokens.max_keepdim(0).unwrap(),
        }
    });
    Tensor::cat(&rows.collect::<Vec<_>>(), 0).unwrap()
}

#[test]
fn equals_the_plain_form() {
    let (segments, lengths) = segments();
    let inputs = [numbers(&[segments.tokens(), 19], 8)];
    for reduction in [Reduction::First, Reduction::Mean, Reduction::Max] {
        compare(
            &inputs,
            &format!("{reduction:?}"),
            |x| pool(&x[0], &segments, reduction).unwrap(),
            |x| plain(&x[0], &lengths, reduction),
        );
    }
}

#[test]
fn another_number_of_tokens_is_refused() {
    let (segments, _) = segments();
    let message = pool(&numbers(&[2, 3], 1), &segments, Reduction::Mean).unwrap_err().to_string();
    assert!(message.contains("the segments hold"), "{message}");
}
