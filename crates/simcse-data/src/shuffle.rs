//! Shuffling whose result is fixed by the generator alone.

use rand::Rng;

/// A uniform number below `bound`, by Lemire's multiplication (2019, without the rejection step: the bias
/// is below `bound / 2^64`). Written out because the sampling algorithms of `rand` may change between
/// versions, and recorded runs must not.
pub(crate) fn below(rng: &mut impl Rng, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// A uniform number in `[0, 1)` with 53 bits.
pub(crate) fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Fisher-Yates shuffle.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simcse_random::Stream;

    #[test]
    fn every_order_is_equally_likely() {
        let mut counts = [0_u32; 6];
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let mut rng = Stream::from_seed(1).rng();
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            shuffle(&mut items, &mut rng);
            counts[orders.iter().position(|order| *order == items).unwrap()] += 1;
        }
        // Five standard deviations of a binomial with p = 1/6: sqrt(6000 * 5/36) = 28.9.
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 145), "{counts:?}");
    }

    #[test]
    fn unit_stays_below_one_and_has_mean_one_half() {
        let mut rng = Stream::from_seed(2).rng();
        let draws: Vec<f64> = (0..10_000).map(|_| unit(&mut rng)).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.015, "{mean}");
    }
}
