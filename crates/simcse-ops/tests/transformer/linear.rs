use candle_core::{Result, Tensor};
use simcse_ops::linear::{Activation, linear, linear_at};
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
                |x| linear_at(level, &x[0], &x[1], &x[2], activation).unwrap(),
                |x| {
                    let product = x[0].matmul(&x[1].t().unwrap()).unwrap().broadcast_add(&x[2]).unwrap();
                    plain(activation, &product).unwrap()
                },
            );
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let message = |input: &[usize], weight: &[usize], bias: usize| {
        let (input, weight, bias) = (numbers(input, 1), numbers(weight, 2), numbers(&[bias], 3));
        linear(&input, &weight, &bias, Activation::Identity).unwrap_err().to_string()
    };
    assert!(message(&[2, 3], &[4, 5], 4).contains("do not fit together"));
    assert!(message(&[2, 3], &[4, 3], 5).contains("do not fit together"));
}
