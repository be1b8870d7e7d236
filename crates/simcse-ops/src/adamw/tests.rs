//! Against PyTorch, and against rows by themselves.

use super::*;
use crate::gradients::Gradient;
use candle_core::{Device, Var};

const STEP: AdamWStep = AdamWStep {
    learning_rate: 0.1,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weight_decay: 0.01,
    step: 1,
    gradient_scale: 0.5,
};

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u32).map(|i| simcse_random::uniform_bits(seed, i) as f32 / u32::MAX as f32).collect()
}

/// ```python
/// import torch
/// p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0]))
/// o = torch.optim.AdamW([p], lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
/// for g in ([0.1, -0.2, 0.3, 0.0], [1.0, 0.5, -0.25, 0.0], [-0.3, 0.2, 0.1, 0.0]):
///     p.grad = torch.tensor(g); o.step(); print([f"{v:.7f}" for v in p.tolist()])
/// ```
#[test]
fn three_steps_equal_pytorch() {
    let parameter = Var::new(&[1.0_f32, -2.0, 0.5, 3.0], &Device::Cpu).unwrap();
    let mut moments = Moments::zeros(4);
    let gradients = [[0.1_f32, -0.2, 0.3, 0.0], [1.0, 0.5, -0.25, 0.0], [-0.3, 0.2, 0.1, 0.0]];
    for (number, (gradient, expected)) in (1..).zip(gradients.iter().zip(GOLDEN)) {
        // Doubled gradients under a scale of one half: the scale must act before the moments.
        let gradient = Tensor::new(&gradient.map(|value| value * 2.0), &Device::Cpu).unwrap();
        let step = AdamWStep { step: number, ..STEP };
        adamw(parameter.as_tensor(), &gradient, &mut moments, step).unwrap();
        let got = parameter.to_vec1::<f32>().unwrap();
        let near = got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6);
        assert!(near, "step {number}: {got:?}, PyTorch has {expected:?}");
    }
}

/// Words of some steps, of others, of none, and twice in one; with the moved rows carried on, and found again.
#[test]
fn a_gradient_by_row_moves_a_table_as_the_whole_one_does() {
    let (rows, size) = (9, 5);
    let batches = [vec![3, 1, 3], vec![8], vec![], vec![1, 0], vec![2, 8]];
    for weight_decay in [0.0, 0.01] {
        let tables =
            [(); 3].map(|()| Tensor::from_vec(numbers(rows * size, 1), (rows, size), &Device::Cpu).unwrap());
        let mut moments = [(); 3].map(|()| Moments::zeros(rows * size));
        let mut moved = MovedRows::of(&moments[1], size);
        for (number, ids) in (1..).zip(&batches) {
            let step = AdamWStep { step: number, weight_decay, ..STEP };
            let gradient = RowGradient::of_tokens(ids, &numbers(ids.len() * size, 10 + number), size);
            let whole = Gradient::Rows(gradient.clone()).to_whole(&tables[0]).unwrap();
            adamw(&tables[0], &whole, &mut moments[0], step).unwrap();
            adamw_table(&tables[1], &gradient, &mut moments[1], &mut moved, step).unwrap();
            let mut found = MovedRows::of(&moments[2], size);
            adamw_table(&tables[2], &gradient, &mut moments[2], &mut found, step).unwrap();
            let [wanted, carried, found] = tables.each_ref().map(|table| table.to_vec2::<f32>().unwrap());
            assert_eq!((&carried, &moments[1]), (&wanted, &moments[0]), "step {number}");
            assert_eq!((found, &moments[2]), (wanted, &moments[0]), "step {number}");
        }
        let last = tables[1].to_vec2::<f32>().unwrap();
        let stood_still = last[5] == numbers(rows * size, 1)[5 * size..6 * size];
        assert_eq!(stood_still, weight_decay == 0.0, "a word of no step");
        let other = RowGradient::of_tokens(&[9], &[0.0; 5], size);
        assert!(adamw_table(&tables[1], &other, &mut moments[1], &mut moved, STEP).is_err());
    }
}

/// Rows by themselves as parameters of their own; what is not named stays to the bit.
#[test]
fn rows_of_a_table_are_updated_as_tensors_of_their_own() {
    let (classes, size, rows) = (7, 5, [0_u32, 3, 6]);
    let step = AdamWStep { step: 3, ..STEP };
    let before = [1, 2, 3].map(|seed| numbers(classes * size, seed));
    let gradient = Tensor::from_vec(numbers(rows.len() * size, 4), (rows.len(), size), &Device::Cpu).unwrap();
    let table = Tensor::from_vec(before[0].clone(), (classes, size), &Device::Cpu).unwrap();
    let mut moments = Moments { first: before[1].clone(), second: before[2].clone() };
    adamw_rows(&table, &rows, &gradient, &mut moments, step).unwrap();
    let table = table.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for class in 0..classes {
        let place = class * size..(class + 1) * size;
        let [parameter, first, second] = before.each_ref().map(|values| values[place.clone()].to_vec());
        let parameter = Tensor::new(parameter, &Device::Cpu).unwrap();
        let mut alone = Moments { first, second };
        if let Some(row) = rows.iter().position(|row| *row as usize == class) {
            adamw(&parameter, &gradient.get(row).unwrap(), &mut alone, step).unwrap();
        }
        assert_eq!(table[place.clone()], parameter.to_vec1::<f32>().unwrap(), "class {class}");
        let of_table = (&moments.first[place.clone()], &moments.second[place]);
        assert_eq!(of_table, (&alone.first[..], &alone.second[..]));
    }
    let table = Tensor::zeros((2, 5), candle_core::DType::F32, &Device::Cpu).unwrap();
    let gradient = gradient.narrow(0, 0, 2).unwrap();
    for wrong in [[1, 0], [0, 2]] {
        assert!(adamw_rows(&table, &wrong, &gradient, &mut Moments::zeros(10), STEP).is_err());
    }
    assert!(adamw_rows(&table, &[0, 1], &gradient, &mut Moments::zeros(9), STEP).is_err());
}

const GOLDEN: [[f32; 4]; 3] = [
    [0.899, -1.898, 0.3995, 2.997],
    [0.817_392_2, -1.940_323_6, 0.395_288_3, 2.994_003],
    [0.775_076_9, -1.992_677_7, 0.376_179_6, 2.991_009],
];
