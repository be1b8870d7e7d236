//! Clipping and parameter groups against values computed by hand.

use candle_core::{Device, Tensor};
use simcse_model::ParameterSet;
use simcse_ops::gradients::Gradients;
use simcse_train::TrainError;
use simcse_train::config::TrainConfig;
use simcse_train::optimizer::{AdamW, ParameterGroup};

use crate::common::setting;

/// `layer.a` = (0, 0), `layer.b` = 2 and a loss with gradients (3, 0) and 4: global norm 5.
fn parameters() -> (ParameterSet, Gradients) {
    let mut parameters = ParameterSet::default();
    let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    let a = parameters.add("layer.a", &tensor(&[0.0, 0.0])).unwrap();
    let b = parameters.add("layer.b", &tensor(&[2.0])).unwrap();
    let slope = |parameter: &Tensor, slope: &[f32]| (parameter * tensor(slope)).unwrap().sum_all().unwrap();
    let loss = (slope(&a, &[3.0, 0.0]) + slope(&b, &[4.0])).unwrap();
    (parameters, loss.backward().unwrap().into())
}

/// An epsilon of 1 makes Adam's first step depend on the size of the gradient g: learning rate · g / (|g| + 1).
fn config() -> TrainConfig {
    TrainConfig { epsilon: 1.0, weight_decay: 0.0, max_gradient_norm: 1.0, ..setting().train }
}

fn group(prefix: &str, learning_rate_factor: f64, weight_decay: f64) -> ParameterGroup {
    ParameterGroup { prefix: prefix.to_owned(), learning_rate_factor, weight_decay }
}

/// One step at learning rate 0.1: the norm before clipping, and the values after.
fn step(config: &TrainConfig) -> (f64, Vec<f32>) {
    let (parameters, gradients) = parameters();
    let norm = AdamW::new(config, &parameters).unwrap().step(&gradients, 0.1).unwrap();
    (norm, parameters.iter().flat_map(|(_, var)| var.to_vec1::<f32>().unwrap()).collect())
}

fn assert_near(found: &[f32], wanted: &[f64]) {
    // 1 - 0.999 in float32 is off by a hundred-thousandth of itself.
    let near = found.iter().zip(wanted).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5);
    assert!(near && found.len() == wanted.len(), "{found:?}, wanted {wanted:?}");
}

#[test]
fn gradients_are_scaled_down_by_their_common_norm() {
    let (norm, values) = step(&config());
    assert!((norm - 5.0).abs() < 1e-12, "{norm}");
    // (3, 0, 4) / 5 = (0.6, 0, 0.8); clipping each tensor by itself would give (1, 0, 1).
    assert_near(&values, &[-0.1 * 0.6 / 1.6, 0.0, 2.0 - 0.1 * 0.8 / 1.8]);
}

#[test]
fn small_gradients_are_left_alone() {
    let (norm, values) = step(&TrainConfig { max_gradient_norm: 5.1, ..config() });
    assert!((norm - 5.0).abs() < 1e-12, "{norm}");
    assert_near(&values, &[-0.1 * 3.0 / 4.0, 0.0, 2.0 - 0.1 * 4.0 / 5.0]);
}

#[test]
fn moments_hold_clipped_gradients() {
    let (parameters, gradients) = parameters();
    let mut optimizer = AdamW::new(&config(), &parameters).unwrap();
    optimizer.step(&gradients, 0.1).unwrap();
    let (name, moments) = optimizer.moments().next().unwrap();
    assert_eq!((name, optimizer.steps()), ("layer.a", 1));
    assert_near(&moments.first, &[0.1 * 0.6, 0.0]);
    assert_near(&moments.second, &[0.001 * 0.36, 0.0]);
}

#[test]
fn a_group_has_its_own_learning_rate_and_decay() {
    let groups = vec![group("layer.b", 0.5, 0.2)];
    let (_, values) = step(&TrainConfig { groups, max_gradient_norm: 10.0, weight_decay: 0.4, ..config() });
    // Decoupled decay multiplies by 1 - learning rate · decay, with the learning rate of the group.
    let decayed = 2.0 * (1.0 - 0.05 * 0.2);
    assert_near(&values, &[-0.1 * 3.0 / 4.0, 0.0, decayed - 0.05 * 4.0 / 5.0]);
}

#[test]
fn the_first_group_that_fits_is_taken() {
    let groups = vec![group("layer.b", 0.5, 0.0), group("layer", 10.0, 0.0)];
    let (_, values) = step(&TrainConfig { groups, max_gradient_norm: 10.0, ..config() });
    assert_near(&values, &[-3.0 / 4.0, 0.0, 2.0 - 0.05 * 4.0 / 5.0]);
}

#[test]
fn a_prefix_that_fits_nothing_is_an_error() {
    let (parameters, _) = parameters();
    let config = TrainConfig { groups: vec![group("layers.b", 0.5, 0.0)], ..config() };
    let line = AdamW::new(&config, &parameters).err().unwrap().to_string();
    let wanted = "train.groups.prefix = \"layers.b\" cannot be used; fix: give the beginning of one of layer.a, layer.b";
    assert_eq!(line, wanted);
}

#[test]
fn a_missing_gradient_changes_nothing() {
    let (mut parameters, gradients) = parameters();
    parameters.add("alone", &Tensor::new(&[1.0_f32], &Device::Cpu).unwrap()).unwrap();
    let mut optimizer = AdamW::new(&config(), &parameters).unwrap();
    let error = optimizer.step(&gradients, 0.1).unwrap_err();
    assert!(matches!(&error, TrainError::Unhealthy { finding, .. } if finding.contains("alone")), "{error}");
    assert_eq!(optimizer.steps(), 0);
    assert_eq!(parameters.get("layer.b").unwrap().to_vec1::<f32>().unwrap(), [2.0]);
}
