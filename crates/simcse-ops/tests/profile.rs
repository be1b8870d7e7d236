//! One test in a process of its own, for there is one profile in a process.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use candle_core::{Device, Tensor};
use simcse_ops::linear::{Activation, Precision, linear};
use simcse_ops::profile::{self, Profile};

#[test]
fn what_runs_inside_of_a_step_is_counted_once_it_is_switched_on() {
    let ones = |shape: &[usize]| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let work = || {
        linear(&ones(&[4, 8]), &ones(&[16, 8]), &ones(&[16]), Activation::Gelu, Precision::Float32).unwrap();
    };
    {
        let _step = profile::step();
        work();
    }
    assert_eq!(profile::take(), Profile::default(), "switched off");
    profile::enable();
    work();
    assert_eq!(profile::take(), Profile::default(), "outside of a step");
    for _ in 0..2 {
        let _step = profile::step();
        let _phase = profile::phase("forward");
        work();
    }
    let profile = profile::take();
    let product = profile.kernels.iter().find(|(name, _)| *name == "linear, product").unwrap().1;
    assert_eq!((product.calls, product.operations), (2, 2 * 2 * 4 * 8 * 16));
    let (name, phase) = profile.phases[0];
    assert_eq!((profile.steps.calls, name, phase.calls), (2, "forward", 2));
    assert!(profile.steps.time >= phase.time && phase.time >= product.time && !product.time.is_zero());
    let text = profile.to_string();
    assert!(text.contains("  linear, product ") && text.contains("  no kernel of ours"), "{text}");
    assert_eq!(profile::take(), Profile::default(), "taken");
}
