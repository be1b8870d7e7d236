use std::sync::{Arc, Mutex};

use candle_core::{D, DType, Device, Tensor};
use simcse_ops::adamw::{AdamWStep, Moments, adamw};
use simcse_ops::gradients::{Gradients, backward};
use simcse_ops::linear::Precision;
use simcse_ops::margin_softmax::{
    Margin, MarginSoftmax, TableMoments, TableUpdate, margin_softmax, margin_softmax_at,
    margin_softmax_moving,
};
use simcse_ops::simd::Level;

use crate::support::{compare, numbers};

const MARGINS: [Margin; 4] = [Margin::None, Margin::Cosine(0.35), Margin::Angle(0.5), Margin::Angle(2.0)];

fn normalised(vectors: &Tensor) -> Tensor {
    vectors.broadcast_div(&vectors.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap()).unwrap()
}

/// All logits at once, in candle's own operations.
fn plain(embeddings: &Tensor, table: &Tensor, labels: &[u32], loss: MarginSoftmax) -> Tensor {
    let cosines = normalised(embeddings).matmul(&normalised(table).t().unwrap()).unwrap();
    let (rows, centres) = cosines.dims2().unwrap();
    let classes = centres / loss.sub_centres;
    let cosines = cosines.reshape((rows, classes, loss.sub_centres)).unwrap().max(2).unwrap();
    let with_margin = match loss.margin {
        Margin::None => cosines.clone(),
        Margin::Cosine(margin) => (&cosines - f64::from(margin)).unwrap(),
        Margin::Angle(margin) => {
            let margin = f64::from(margin);
            let sine = cosines.sqr().unwrap().affine(-1.0, 1.0).unwrap().sqrt().unwrap();
            let turned = ((&cosines * margin.cos()).unwrap() - (sine * margin.sin()).unwrap()).unwrap();
            let beyond = (&cosines - margin * margin.sin()).unwrap();
            let inside = cosines.gt((std::f64::consts::PI - margin).cos()).unwrap();
            inside.where_cond(&turned, &beyond).unwrap()
        }
    };
    let mut own = vec![0_u8; rows * classes];
    labels.iter().enumerate().for_each(|(row, label)| own[row * classes + *label as usize] = 1);
    let own = Tensor::from_vec(own, (rows, classes), &Device::Cpu).unwrap();
    let logits = (own.where_cond(&with_margin, &cosines).unwrap() * f64::from(loss.scale)).unwrap();
    let largest = logits.max_keepdim(1).unwrap().detach();
    let powers = logits.broadcast_sub(&largest).unwrap().exp().unwrap();
    let log_sums = (powers.sum_keepdim(1).unwrap().log().unwrap() + largest).unwrap();
    let own_logits = (logits * own.to_dtype(DType::F64).unwrap()).unwrap().sum_keepdim(1).unwrap();
    (log_sums - own_logits).unwrap().squeeze(D::Minus1).unwrap()
}

#[test]
fn equals_the_plain_form_with_every_margin_at_every_level() {
    // Within a block, over several, and over several tasks.
    for (rows, size, classes) in [(3, 5, 2), (5, 17, 600), (7, 33, 1700)] {
        for sub_centres in [1, 3] {
            let inputs = [numbers(&[rows, size], 1), numbers(&[classes * sub_centres, size], 2)];
            let labels: Vec<u32> = (0..rows).map(|row| ((row * 577 + 1) % classes) as u32).collect();
            for (level, margin) in
                Level::available().into_iter().flat_map(|level| MARGINS.map(|margin| (level, margin)))
            {
                let loss = MarginSoftmax { scale: 12.0, margin, sub_centres, precision: Precision::Float32 };
                compare(
                    &inputs,
                    &format!("{level:?} {margin:?} {rows} x {size}, {classes} x {sub_centres}"),
                    |x| margin_softmax_at(level, &x[0], &x[1], &labels, loss).unwrap().0,
                    |x| plain(&x[0], &x[1], &labels, loss),
                );
            }
        }
    }
}

/// The same loss but for the rounding of 2⁻⁹ of what is multiplied.
#[test]
fn bfloat16_differs_by_its_rounding_alone() {
    let variable = |shape: &[usize], seed| candle_core::Var::from_tensor(&numbers(shape, seed)).unwrap();
    let (embeddings, table) = (variable(&[7, 64], 1), variable(&[900, 64], 2));
    let labels = [0, 5, 600, 899, 3, 512, 511];
    let run = |level, precision| {
        let loss = MarginSoftmax { scale: 12.0, margin: Margin::Cosine(0.35), sub_centres: 1, precision };
        let losses = margin_softmax_at(level, &embeddings, &table, &labels, loss).unwrap().0;
        let gradients = backward(&losses.sum_all().unwrap()).unwrap();
        let of = |parameter: &Tensor| gradients.whole(parameter).unwrap().unwrap().flatten_all().unwrap();
        [losses, of(&embeddings), of(&table)].map(|values| values.to_vec1::<f32>().unwrap())
    };
    for level in Level::available() {
        let pairs = run(level, Precision::Float32).into_iter().zip(run(level, Precision::BFloat16));
        for (exact, rounded) in pairs {
            let square =
                |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>();
            let distance = square(&mut exact.iter().zip(&rounded).map(|(a, b)| a - b)).sqrt();
            let relative = distance / square(&mut exact.iter().copied()).sqrt();
            assert!(relative > 1e-5 && relative < 1e-2, "{level:?}: {relative}");
        }
    }
}

/// Two steps of AdamW inside of the backward pass, and after it.
#[test]
fn a_table_moves_in_the_backward_pass_as_it_would_after_it() {
    let (classes, size) = (1700, 33);
    let step = AdamWStep {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        step: 0,
        gradient_scale: 1.0,
    };
    for (precision, sub_centres) in
        [(Precision::Float32, 1), (Precision::Float32, 2), (Precision::BFloat16, 1)]
    {
        let loss = MarginSoftmax { scale: 12.0, margin: Margin::Cosine(0.35), sub_centres, precision };
        let variable = |shape: &[usize], seed| candle_core::Var::from_tensor(&numbers(shape, seed)).unwrap();
        let embeddings = variable(&[5, size], 1);
        let [after, inside] = [(); 2].map(|()| variable(&[classes, size], 2));
        let mut moments = Moments::zeros(classes * size);
        let state = TableMoments { moments: moments.clone(), updates: 0 };
        let update = TableUpdate { state: Arc::new(Mutex::new(state)), step };
        for number in 1..3 {
            let labels = [0, 5, 600, 849, number];
            let (losses, _) = margin_softmax(&embeddings, &after, &labels, loss).unwrap();
            let wanted = backward(&losses.sum_all().unwrap()).unwrap();
            let step = AdamWStep { step: u64::from(number), ..step };
            adamw(&after, &wanted.whole(&after).unwrap().unwrap(), &mut moments, step).unwrap();
            let (moving, _) =
                margin_softmax_moving(&embeddings, &inside, &labels, loss, update.clone()).unwrap();
            let found = backward(&moving.sum_all().unwrap()).unwrap();
            assert!(found.whole(&inside).unwrap().is_none());
            let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let of_embeddings = |gradients: &Gradients| flat(&gradients.whole(&embeddings).unwrap().unwrap());
            assert_eq!(of_embeddings(&found), of_embeddings(&wanted));
            assert_eq!(
                (flat(&losses), flat(&inside)),
                (flat(&moving), flat(&after)),
                "{precision:?}, step {number}"
            );
            assert_eq!(update.state.lock().unwrap().moments, moments);
        }
        let state = TableMoments { moments: Moments::zeros(7), updates: 0 };
        let wrong = TableUpdate { state: Arc::new(Mutex::new(state)), step };
        assert!(margin_softmax_moving(&embeddings, &inside, &[0; 5], loss, wrong).is_err());
    }
}

/// At the published scales the largest logit decides alone; nothing may overflow or vanish.
#[test]
fn large_scales_stay_finite() {
    for scale in [64.0, 1000.0] {
        let (embeddings, table) = (numbers(&[4, 8], 1), numbers(&[700, 8], 2));
        let loss = MarginSoftmax {
            scale,
            margin: Margin::Cosine(0.35),
            sub_centres: 1,
            precision: Precision::Float32,
        };
        let labels = [0, 5, 600, 699];
        let (losses, seen) = margin_softmax(&embeddings, &table, &labels, loss).unwrap();
        let plain = plain(
            &embeddings.to_dtype(DType::F64).unwrap(),
            &table.to_dtype(DType::F64).unwrap(),
            &labels,
            loss,
        );
        let plain = plain.to_vec1::<f64>().unwrap();
        for (loss, plain) in losses.to_vec1::<f32>().unwrap().iter().zip(plain) {
            assert!((f64::from(*loss) - plain).abs() < 1e-5 * plain.max(1.0), "{loss}, plain {plain}");
        }
        let cosines = normalised(&embeddings).matmul(&normalised(&table).t().unwrap()).unwrap();
        let cosines = cosines.to_vec2::<f32>().unwrap();
        for (row, cosines) in cosines.iter().enumerate() {
            let best = (0..700).max_by(|a, b| cosines[*a].total_cmp(&cosines[*b])).unwrap();
            assert_eq!(seen.nearest[row] as usize, best);
            assert!((seen.own_cosine[row] - cosines[labels[row] as usize]).abs() < 1e-6);
        }
    }
}

#[test]
fn a_vector_without_direction_has_cosine_zero_and_no_gradient() {
    let embeddings = candle_core::Var::from_tensor(&Tensor::zeros((2, 4), DType::F32, &Device::Cpu).unwrap());
    let embeddings = embeddings.unwrap();
    let loss =
        MarginSoftmax { scale: 10.0, margin: Margin::None, sub_centres: 1, precision: Precision::Float32 };
    let (losses, seen) = margin_softmax(&embeddings, &numbers(&[5, 4], 1), &[0, 1], loss).unwrap();
    assert_eq!(seen.own_cosine, [0.0, 0.0]);
    let values = losses.to_vec1::<f32>().unwrap();
    assert!(values.iter().all(|loss| (loss - 5.0_f32.ln()).abs() < 1e-6), "{values:?}");
    let gradients = losses.sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(&embeddings).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(gradient, [0.0; 8]);
}

/// The slope of cos(θ + m) has no bound at θ = 0. A float32 cosine of 1 may be any from 1 - 2⁻²⁵ on; the gradient, which is
/// orthogonal to the embedding but for rounding, must not become noise of the size of the embedding.
#[test]
fn an_embedding_on_its_centre_has_a_small_gradient_by_angle() {
    let own = numbers(&[5, 64], 1);
    // A class beside each, without which the loss is 0.
    let table = Tensor::cat(&[&own, &(&own + (numbers(&[5, 64], 2) * 1e-4).unwrap()).unwrap()], 0).unwrap();
    let embeddings = candle_core::Var::from_tensor(&own).unwrap();
    let loss = MarginSoftmax {
        scale: 64.0,
        margin: Margin::Angle(0.5),
        sub_centres: 1,
        precision: Precision::Float32,
    };
    let (losses, _) = margin_softmax(&embeddings, &table, &[0, 1, 2, 3, 4], loss).unwrap();
    let gradients = losses.sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(&embeddings).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(gradient.iter().all(|value| value.abs() < 0.03), "{gradient:?}");
}

#[test]
fn what_does_not_fit_is_named() {
    let loss =
        MarginSoftmax { scale: 10.0, margin: Margin::None, sub_centres: 2, precision: Precision::Float32 };
    let message = |rows: usize, table: &[usize], labels: &[u32]| {
        margin_softmax(&numbers(&[rows, 4], 1), &numbers(table, 2), labels, loss).unwrap_err().to_string()
    };
    assert!(message(1, &[4, 4], &[2]).contains("label 2 for 2 classes"));
    for (rows, table, labels) in
        [(1, [3, 4], &[0][..]), (1, [4, 5], &[0]), (2, [4, 4], &[0]), (0, [4, 4], &[])]
    {
        assert!(message(rows, &table, labels).contains("do not fit together"));
    }
}
