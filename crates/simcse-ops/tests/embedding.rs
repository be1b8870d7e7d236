//! Table lookup with dropout: gradient, masks that do not depend on the batch, errors.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use candle_core::{DType, Device, Tensor, Var};
use simcse_ops::Segments;
use simcse_ops::dropout::DropoutMasks;
use simcse_ops::embedding::embedding;
use simcse_random::Stream;

fn table() -> Var {
    let values = Tensor::arange(0_f32, 21.0, &Device::Cpu).unwrap().reshape((7, 3)).unwrap();
    Var::from_tensor(&(values + 1.0).unwrap()).unwrap()
}

fn masks(sentences: &[u64]) -> DropoutMasks {
    DropoutMasks::new(0.4, sentences.iter().map(|s| Stream::from_seed(9).fold(*s).key()).collect()).unwrap()
}

#[test]
fn looks_rows_up_and_counts_their_gradient() {
    let table = table();
    let segments = Segments::new(&[0, 2, 2, 5]).unwrap();
    let tokens = embedding(&table, &[6, 0, 6, 6, 2], &segments, None).unwrap();
    assert_eq!(tokens.to_vec2::<f32>().unwrap()[1], [1.0, 2.0, 3.0]);
    let gradients = tokens.sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(&table).unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(gradient, [3.0, 0.0, 3.0, 0.0, 0.0, 0.0, 9.0]);
}

/// With every table value 1, the gradient of the sum is what dropout let through, summed by token.
#[test]
fn the_gradient_passes_through_the_mask() {
    let table = Var::from_tensor(&Tensor::ones((4, 50), DType::F32, &Device::Cpu).unwrap()).unwrap();
    let segments = Segments::new(&[0, 1, 3]).unwrap();
    let tokens = embedding(&table, &[1, 3, 0], &segments, Some(&masks(&[0, 1]))).unwrap();
    let rows = tokens.to_vec2::<f32>().unwrap();
    let gradients = tokens.sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(&table).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!([&gradient[1], &gradient[3], &gradient[0]], [&rows[0], &rows[1], &rows[2]]);
    assert!(rows.iter().flatten().any(|v| *v == 0.0) && rows.iter().flatten().any(|v| *v > 1.5));
}

#[test]
fn a_sentence_keeps_its_mask_in_any_batch() {
    let table = table();
    let both =
        embedding(&table, &[1, 2, 3, 4, 5], &Segments::new(&[0, 2, 5]).unwrap(), Some(&masks(&[4, 8])))
            .unwrap();
    let alone = embedding(&table, &[3, 4, 5], &Segments::new(&[0, 3]).unwrap(), Some(&masks(&[8]))).unwrap();
    assert_eq!(both.to_vec2::<f32>().unwrap()[2..], alone.to_vec2::<f32>().unwrap());
}

#[test]
fn wrong_inputs_are_named() {
    let segments = Segments::new(&[0, 2]).unwrap();
    let message = |ids: &[u32], masks: Option<&DropoutMasks>| {
        embedding(&table(), ids, &segments, masks).unwrap_err().to_string()
    };
    assert!(message(&[0, 7], None).contains("token id 7 in a vocabulary of 7"));
    assert!(message(&[0], None).contains("1 ids, but the segments hold 2 tokens"));
    assert!(message(&[0, 1], Some(&masks(&[0, 1]))).contains("2 dropout masks for 1 sentences"));
}
