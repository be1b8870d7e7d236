//! Numbers, masks and comparing for the tests of this folder.

use candle_core::{DType, Device, Tensor, Var};
use simcse_ops::Segments;
use simcse_ops::dropout::{DropoutMasks, dropout};
use simcse_random::{Stream, uniform_bits};

/// Numbers between -1 and 1.
pub(crate) fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let count = shape.iter().product::<usize>() as u32;
    let number = |i| uniform_bits(seed, i) as f32 / u32::MAX as f32 * 2.0 - 1.0;
    Tensor::from_vec((0..count).map(number).collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

/// One sentence of each kind: long, of one token, empty, of more than a register tile.
pub(crate) fn segments() -> (Segments, Vec<usize>) {
    let lengths = vec![7, 1, 0, 18, 3];
    let mut offsets = vec![0];
    lengths.iter().for_each(|length| offsets.push(offsets.last().unwrap() + *length as u32));
    (Segments::new(&offsets).unwrap(), lengths)
}

pub(crate) fn masks(rate: f32, sentences: usize, site: &str) -> DropoutMasks {
    let stream = Stream::from_seed(11).named(site);
    DropoutMasks::new(rate, (0..sentences as u64).map(|s| stream.fold(s).key()).collect()).unwrap()
}

/// The first `count` factors of the masks of a sentence, read through the dropout op.
pub(crate) fn factors(masks: &DropoutMasks, sentence: usize, count: usize) -> Tensor {
    let ones = Tensor::ones((masks.rows(), count.max(1)), DType::F32, &Device::Cpu).unwrap();
    let row = dropout(&ones, masks).unwrap().get(sentence).unwrap();
    row.narrow(0, 0, count).unwrap().to_dtype(DType::F64).unwrap()
}

/// The masks of all tokens of a ragged batch, `[T, H]`.
pub(crate) fn token_factors(masks: &DropoutMasks, lengths: &[usize], size: usize) -> Tensor {
    let rows =
        lengths.iter().enumerate().filter(|(_, length)| **length > 0).map(|(sentence, &length)| {
            factors(masks, sentence, length * size).reshape((length, size)).unwrap()
        });
    Tensor::cat(&rows.collect::<Vec<_>>(), 0).unwrap()
}

/// Output and gradients of `Σ output · weights` for a function of some inputs.
pub(crate) fn differentiate(
    inputs: &[Tensor],
    dtype: DType,
    function: impl Fn(&[Tensor]) -> Tensor,
) -> (Tensor, Vec<Tensor>) {
    let variables: Vec<Var> =
        inputs.iter().map(|input| Var::from_tensor(&input.to_dtype(dtype).unwrap()).unwrap()).collect();
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let output = function(&tensors);
    let weights = numbers(output.dims(), 99).to_dtype(dtype).unwrap();
    let gradients = (&output * weights).unwrap().sum_all().unwrap().backward().unwrap();
    (output, variables.iter().map(|variable| gradients.get(variable).unwrap().clone()).collect())
}

/// Fails where two tensors differ by more than `tolerance` relative to the larger of 1 and the largest value.
pub(crate) fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}: shape");
    let values = |tensor: &Tensor| -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let (got, want) = (values(got), values(want));
    let scale = want.iter().fold(1.0_f64, |scale, value| scale.max(value.abs()));
    for (index, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= tolerance * scale, "{what}, element {index}: {got} instead of {want}");
    }
}

/// Compares a kernel with its plain form: values and the gradients of all inputs.
pub(crate) fn compare(
    inputs: &[Tensor],
    what: &str,
    kernel: impl Fn(&[Tensor]) -> Tensor,
    plain: impl Fn(&[Tensor]) -> Tensor,
) {
    let (got, got_gradients) = differentiate(inputs, DType::F32, kernel);
    let (want, want_gradients) = differentiate(inputs, DType::F64, plain);
    assert_close(&got, &want, 2e-6, what);
    for (index, (got, want)) in got_gradients.iter().zip(&want_gradients).enumerate() {
        assert_close(got, want, 5e-6, &format!("{what}, gradient of input {index}"));
    }
}
