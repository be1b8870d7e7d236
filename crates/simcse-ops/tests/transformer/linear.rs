use candle_core::{DType, Result, Tensor, Var};
use simcse_ops::linear::{Activation, Precision, linear, linear_at};
use simcse_ops::simd::Level;

use crate::support::{compare, numbers};

/// The definitions, from candle's own elementwise operations.
fn plain(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => {
            let inner =
                ((x + (x.sqr()? * x)?.affine(0.044_715, 0.0)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
            (x * (inner.tanh()? + 1.0)?)? * 0.5
        }
        Activation::Relu => x.relu(),
        Activation::Tanh => x.tanh(),
    }
}

#[test]
fn equals_the_plain_form_with_every_activation_at_every_level() {
    for (rows, inner, columns) in [(1, 1, 1), (5, 17, 33), (64, 40, 300)] {
        let inputs = [numbers(&[rows, inner], 1), numbers(&[columns, inner], 2), numbers(&[columns], 3)];
        let activations = [
            Activation::Identity,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Tanh,
        ];
        for (level, activation) in
            Level::available().into_iter().flat_map(|level| activations.map(|activation| (level, activation)))
        {
            compare(
                &inputs,
                &format!("{level:?} {activation:?} {rows} x {inner} x {columns}"),
                |x| linear_at(level, &x[0], &x[1], &x[2], activation, Precision::Float32).unwrap(),
                |x| {
                    let product = x[0].matmul(&x[1].t().unwrap()).unwrap().broadcast_add(&x[2]).unwrap();
                    plain(activation, &product).unwrap()
                },
            );
        }
    }
}

#[test]
fn nan_comes_through_every_activation() {
    let (input, weight) = (numbers(&[2, 3], 1), numbers(&[4, 3], 2));
    let bias = Tensor::new(&[f32::NAN, 0.0, 0.0, 0.0], input.device()).unwrap();
    for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Tanh] {
        for level in Level::available() {
            let output = linear_at(level, &input, &weight, &bias, activation, Precision::Float32).unwrap();
            for row in output.to_vec2::<f32>().unwrap() {
                let found: Vec<bool> = row.iter().map(|value| value.is_nan()).collect();
                assert_eq!(found, [true, false, false, false], "{activation:?} {level:?}");
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let message = |input: &[usize], weight: &[usize], bias: usize| {
        let (input, weight, bias) = (numbers(input, 1), numbers(weight, 2), numbers(&[bias], 3));
        linear(&input, &weight, &bias, Activation::Identity, Precision::Float32).unwrap_err().to_string()
    };
    assert!(message(&[2, 3], &[4, 5], 4).contains("do not fit together"));
    assert!(message(&[2, 3], &[4, 3], 5).contains("do not fit together"));
}

/// In bfloat16 the values of each product are rounded, of the backward products as well; sums are not.
#[test]
fn bfloat16_is_the_plain_form_of_rounded_values_at_every_level() {
    let (rows, inner, columns) = (13, 50, 70);
    let values = [numbers(&[rows, inner], 1), numbers(&[columns, inner], 2), numbers(&[columns], 3)];
    let [input, weight, bias] = values.map(|tensor| Var::from_tensor(&tensor).unwrap());
    let rounded = |tensor: &Tensor| tensor.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
    let (rounded_input, rounded_weight) = (rounded(&input), rounded(&weight));
    let seed = numbers(&[rows, columns], 4);
    let rounded_seed = rounded(&seed);
    let product = rounded_input.matmul(&rounded_weight.t().unwrap()).unwrap();
    let wanted = [
        product.broadcast_add(&bias).unwrap(),
        rounded_seed.matmul(&rounded_weight).unwrap(),
        rounded_seed.t().unwrap().matmul(&rounded_input).unwrap(),
        seed.sum(0).unwrap(),
    ];
    for level in Level::available() {
        let output =
            linear_at(level, &input, &weight, &bias, Activation::Identity, Precision::BFloat16).unwrap();
        let gradients = (&output * &seed).unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = |of: &Var| gradients.get(of).unwrap().clone();
        let found = [output, gradient(&input), gradient(&weight), gradient(&bias)];
        for (number, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            let errors = (found - wanted).unwrap().abs().unwrap().flatten_all().unwrap();
            let errors: Vec<f32> = errors.to_vec1().unwrap();
            assert!(errors.iter().all(|error| *error < 2e-5), "{level:?}, result {number}: {errors:?}");
        }
    }
}
