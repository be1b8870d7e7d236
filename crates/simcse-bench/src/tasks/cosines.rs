//! How the cosines of pairs lie, by gold class.

use serde::{Deserialize, Serialize};
use simcse_data::PairSet;

use super::{CosineScorer, PairScorer as _};
use crate::embedder::{EmbeddedSentences, Embedder};

/// Bins over -1 to 1.
pub const COSINE_BINS: usize = 80;
/// Bounds of the classes of a graded scale of 0 to 5: the groups of Gao et al. 2021, appendix G.
const GRADES: [f32; 4] = [1.0, 2.0, 3.0, 4.0];

/// The pairs of one gold class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosineClass {
    /// `0`, `1` of binary labels; `0 to 1` and so on of a graded scale, the upper bound excluded but for the last.
    pub label: String,
    /// Pairs by bin; the bins are of equal width, the first begins at -1.
    pub counts: Vec<u64>,
}

/// Counts the cosines of a set's pairs by gold class, the lowest first.
///
/// # Errors
/// When the embedder fails.
pub fn cosine_classes(embedder: &dyn Embedder, set: &PairSet) -> anyhow::Result<Vec<CosineClass>> {
    let pairs = set.pairs();
    let sentences = pairs.iter().flat_map(|pair| [pair.first.as_str(), pair.second.as_str()]);
    let embedded = EmbeddedSentences::new(embedder, sentences)?;
    let cosines = CosineScorer { embedded: &embedded }.score(pairs)?;
    let binary = pairs.iter().all(|pair| pair.score == 0.0 || pair.score == 1.0);
    let labels: Vec<String> = if binary {
        ["0", "1"].map(str::to_owned).into()
    } else {
        (0..=GRADES.len()).map(|grade| format!("{grade} to {}", grade + 1)).collect()
    };
    let class = |score: f32| match binary {
        true => usize::from(score == 1.0),
        false => GRADES.iter().filter(|bound| score >= **bound).count(),
    };
    let mut classes: Vec<CosineClass> =
        labels.into_iter().map(|label| CosineClass { label, counts: vec![0; COSINE_BINS] }).collect();
    for (pair, cosine) in pairs.iter().zip(cosines) {
        let bin = ((cosine + 1.0) / 2.0 * COSINE_BINS as f64) as usize;
        classes[class(pair.score)].counts[bin.min(COSINE_BINS - 1)] += 1;
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use simcse_data::{DataSource, Split, load_pairs};

    use super::*;
    use crate::baselines::MeanRandomVectors;

    #[test]
    fn every_pair_is_counted_once_in_its_class() {
        let set = load_pairs(&DataSource::new(None).unwrap(), "sample", Split::Test).unwrap();
        let classes = cosine_classes(&MeanRandomVectors::new(1), &set).unwrap();
        let count = |class: &CosineClass| class.counts.iter().sum::<u64>() as usize;
        assert_eq!(classes.iter().map(count).sum::<usize>(), set.pairs().len());
        let positives = set.pairs().iter().filter(|pair| pair.score == 1.0).count();
        assert_eq!((classes.len(), count(&classes[1])), (2, positives));
        let mean = |class: &CosineClass| {
            let sum: u64 = (0..).zip(&class.counts).map(|(bin, count)| bin * count).sum();
            sum as f64 / count(class) as f64
        };
        assert!(mean(&classes[1]) > mean(&classes[0]), "pairs of one meaning are nearer");
    }
}
