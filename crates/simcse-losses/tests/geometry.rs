//! Alignment and uniformity against PyTorch, against the formulas written out, and at any thread count.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use serde_json::Value;
use simcse_losses::{alignment, uniformity};
use simcse_random::uniform_bits;

fn numbers(seed: u64, count: usize) -> Vec<f32> {
    (0..count).map(|i| uniform_bits(seed, i as u32) as f32 / u32::MAX as f32 - 0.3).collect()
}

/// `golden/make_losses.py` holds the PyTorch code (that of the paper's appendix).
#[test]
fn both_equal_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("golden/losses.json")).unwrap();
    let floats = |key: &str| -> Vec<f32> { serde_json::from_value(golden[key].clone()).unwrap() };
    let (anchors, positives) = (floats("anchors"), floats("positives"));
    let size = golden["size"].as_u64().unwrap() as usize;
    let near = |got: f64, key: &str| {
        let want = golden[key].as_f64().unwrap();
        assert!((got - want).abs() < 1e-12, "{key}: {got} is not {want}");
    };
    near(alignment(&anchors, &positives, size).unwrap(), "alignment");
    near(uniformity(&[anchors, positives].concat(), size).unwrap(), "uniformity");
}

fn brute_force_uniformity(embeddings: &[f32], size: usize) -> f64 {
    let unit: Vec<Vec<f64>> = embeddings
        .chunks(size)
        .map(|row| {
            let norm = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|&v| f64::from(v) / norm).collect()
        })
        .collect();
    let (mut sum, mut pairs) = (0.0, 0.0);
    for i in 0..unit.len() {
        for j in 0..i {
            let distance: f64 = unit[i].iter().zip(&unit[j]).map(|(a, b)| (a - b) * (a - b)).sum();
            sum += (-2.0 * distance).exp();
            pairs += 1.0;
        }
    }
    f64::ln(sum / pairs)
}

/// Row counts around the limits of panels (4) and blocks (64).
#[test]
fn uniformity_equals_the_formula_for_any_number_of_rows() {
    for rows in [2, 3, 4, 5, 8, 63, 64, 65, 66, 130, 201] {
        for size in [1, 3, 16] {
            let embeddings = numbers(rows as u64, rows * size);
            let (got, want) =
                (uniformity(&embeddings, size).unwrap(), brute_force_uniformity(&embeddings, size));
            assert!((got - want).abs() < 1e-11, "{rows} x {size}: {got} is not {want}");
        }
    }
}

#[test]
fn known_positions_give_known_values() {
    // Two opposite points: distance² 4. A point and itself: 0. Length does not matter.
    assert_eq!(alignment(&[1.0, 0.0, 2.0, 0.0], &[-3.0, 0.0, 5.0, 0.0], 2).unwrap(), 2.0);
    assert_eq!(uniformity(&[1.0, 0.0, -2.0, 0.0], 2).unwrap(), -8.0);
    assert!(uniformity(&[3.0, 4.0, 6.0, 8.0, 30.0, 40.0], 2).unwrap().abs() < 1e-15);
    // A vector of zeros stays at the centre: distance² 1.
    assert_eq!(uniformity(&[0.0, 0.0, 0.0, 9.0], 2).unwrap(), -2.0);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let embeddings = numbers(9, 500 * 24);
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| uniformity(&embeddings, 24).unwrap()).to_bits()
    };
    let one = with_threads(1);
    assert!([2, 3, 7].into_iter().all(|threads| with_threads(threads) == one));
}

#[test]
fn bad_input_is_one_clear_line() {
    let errors = [
        (uniformity(&[1.0, 2.0, 3.0], 2), "3 numbers are not rows of 2"),
        (uniformity(&[1.0, 2.0], 0), "not rows of 0"),
        (uniformity(&[1.0, 2.0], 2), "1 rows make no pair"),
        (uniformity(&[1.0, 2.0, f32::NAN, 1.0], 2), "embedding 1"),
        (alignment(&[1.0, 2.0], &[1.0, 2.0, 3.0, 4.0], 2), "1 and 2 rows"),
        (alignment(&[], &[], 2), "0 and 0 rows"),
    ];
    for (result, part) in errors {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("fix: ") && !message.contains('\n'), "{message}");
    }
}
