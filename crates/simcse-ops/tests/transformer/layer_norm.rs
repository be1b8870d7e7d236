use candle_core::{D, Tensor};
use simcse_ops::dropout::DropoutMasks;
use simcse_ops::layer_norm::{LayerNormSites, LayerNormWeights, layer_norm, layer_norm_at};
use simcse_ops::simd::Level;

use crate::support::{assert_close, compare, masks, numbers, segments, token_factors};

const EPSILON: f64 = 1e-5;

/// Ba et al. 2016, equations 3 and 4.
fn plain(sums: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let centred = sums.broadcast_sub(&sums.mean_keepdim(D::Minus1).unwrap()).unwrap();
    let variance = centred.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
    let normalised = centred.broadcast_div(&(variance + EPSILON).unwrap().sqrt().unwrap()).unwrap();
    normalised.broadcast_mul(weight).unwrap().broadcast_add(bias).unwrap()
}

#[test]
fn equals_the_plain_form_with_and_without_residual_and_dropout() {
    let (segments, lengths) = segments();
    let sentences = lengths.len();
    for size in [1, 16, 37] {
        let inputs = [
            numbers(&[segments.tokens(), size], 1),
            numbers(&[size], 2),
            numbers(&[size], 3),
            numbers(&[segments.tokens(), size], 4),
        ];
        let input_masks = masks(0.3, sentences, "input");
        let output_masks = masks(0.2, sentences, "output");
        let times =
            |tensor: &Tensor, masks: &DropoutMasks| (tensor * token_factors(masks, &lengths, size)).unwrap();
        for level in Level::available() {
            compare(
                &inputs,
                &format!("{level:?}, size {size}, residual and dropout"),
                |x| {
                    let weights = LayerNormWeights { weight: &x[1], bias: &x[2], epsilon: EPSILON };
                    let sites = LayerNormSites {
                        segments: &segments,
                        residual: Some(&x[3]),
                        input_masks: Some(&input_masks),
                        output_masks: Some(&output_masks),
                    };
                    layer_norm_at(level, &x[0], weights, sites).unwrap()
                },
                |x| {
                    let sums = (times(&x[0], &input_masks) + &x[3]).unwrap();
                    times(&plain(&sums, &x[1], &x[2]), &output_masks)
                },
            );
            compare(
                &inputs[..3],
                &format!("{level:?}, size {size}, alone"),
                |x| {
                    let weights = LayerNormWeights { weight: &x[1], bias: &x[2], epsilon: EPSILON };
                    let sites = LayerNormSites {
                        segments: &segments,
                        residual: None,
                        input_masks: None,
                        output_masks: None,
                    };
                    layer_norm_at(level, &x[0], weights, sites).unwrap()
                },
                |x| plain(&x[0], &x[1], &x[2]),
            );
        }
    }
}

/// ```python
/// import torch
/// x = torch.tensor([[1.0, 2.0, 4.0], [-1.0, 0.5, 0.25]])
/// print(torch.nn.functional.layer_norm(x, (3,), torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, 0.1, -1.0])))
/// ```
#[test]
fn equals_pytorch() {
    let device = &candle_core::Device::Cpu;
    let input = Tensor::new(&[[1.0_f32, 2.0, 4.0], [-1.0, 0.5, 0.25]], device).unwrap();
    let weight = Tensor::new(&[1.0_f32, 2.0, 0.5], device).unwrap();
    let bias = Tensor::new(&[0.0_f32, 0.1, -1.0], device).unwrap();
    let segments = simcse_ops::Segments::new(&[0, 2]).unwrap();
    let weights = LayerNormWeights { weight: &weight, bias: &bias, epsilon: EPSILON };
    let sites = LayerNormSites { segments: &segments, residual: None, input_masks: None, output_masks: None };
    let golden = [[-1.069_041_4, -0.434_520_57, -0.331_849_1], [-1.396_985_2, 1.877_981_1, -0.746_002_7]];
    let want = Tensor::new(&golden, device).unwrap();
    assert_close(&layer_norm(&input, weights, sites).unwrap(), &want, 1e-5, "PyTorch");
}

#[test]
fn wrong_inputs_are_named() {
    let (segments, lengths) = segments();
    let (weight, bias) = (numbers(&[4], 1), numbers(&[4], 2));
    let message = |tokens: usize, residual: Option<&Tensor>, masks: Option<&DropoutMasks>| {
        let weights = LayerNormWeights { weight: &weight, bias: &bias, epsilon: EPSILON };
        let sites = LayerNormSites { segments: &segments, residual, input_masks: masks, output_masks: None };
        layer_norm(&numbers(&[tokens, 4], 3), weights, sites).unwrap_err().to_string()
    };
    let tokens = segments.tokens();
    assert!(message(tokens + 1, None, None).contains("the segments hold"));
    assert!(message(tokens, Some(&numbers(&[tokens, 3], 4)), None).contains("residual"));
    let too_few = masks(0.1, lengths.len() - 1, "few");
    assert!(message(tokens, None, Some(&too_few)).contains("dropout masks"));
}
