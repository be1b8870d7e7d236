//! Shared by tests: the folder of published models, and comparing numbers.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]
#![allow(clippy::print_stderr, reason = "a test that is left out says so")]

use std::path::PathBuf;

use candle_core::Tensor;

/// A published model below `SIMCSE_MODEL_DIR`, or nothing where that is not set (in CI it must be).
pub(crate) fn model(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("SIMCSE_MODEL_DIR") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "SIMCSE_MODEL_DIR must be set in CI");
        eprintln!("left out: needs SIMCSE_MODEL_DIR (see README, Tests)");
        return None;
    };
    Some(PathBuf::from(folder).join(name))
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// `|got - want| < tolerance · max(|want|, 1)` for every value.
pub(crate) fn assert_near(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let near = (f64::from(*got) - want).abs() < tolerance * want.abs().max(1.0);
        assert!(near, "{what}[{index}]: {got}, wanted {want}");
    }
}

/// Σ valueᵢ · sin(0.7 i), in f64.
pub(crate) fn product_with_wave(values: &[f32]) -> f64 {
    values.iter().enumerate().map(|(index, value)| f64::from(*value) * (0.7 * index as f64).sin()).sum()
}
