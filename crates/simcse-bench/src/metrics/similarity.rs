//! Similarity of two embeddings.

/// Cosine of the angle between two vectors of one size, summed in `f64` from first to last.
///
/// A vector of zeros (a sentence of which no character is known) has no direction; its cosine is 0 here.
pub fn cosine(first: &[f32], second: &[f32]) -> f64 {
    debug_assert_eq!(first.len(), second.len());
    let (mut dot, mut first_square, mut second_square) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (a, b) in first.iter().zip(second) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        dot += a * b;
        first_square += a * a;
        second_square += b * b;
    }
    let norms = (first_square * second_square).sqrt();
    if norms > 0.0 { (dot / norms).clamp(-1.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_of_known_vectors() {
        assert_eq!(cosine(&[3.0, 4.0], &[4.0, 3.0]), 24.0 / 25.0);
        assert_eq!(cosine(&[1.0, 0.0], &[-2.0, 0.0]), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
    }
}
