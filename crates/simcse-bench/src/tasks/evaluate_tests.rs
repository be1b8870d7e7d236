//! Tests of the evaluation, with embeddings that can be reckoned by hand.

use super::*;
use crate::embedder::Embedded;
use simcse_data::{Origin, Split, Subset};

/// A set whose sentences are numbers; `rows` are first, second, gold.
fn set(
    name: &str,
    split: Split,
    rows: &[(&str, &str, f32)],
    subsets: &[(&str, std::ops::Range<usize>)],
) -> PairSet {
    let pair = |(first, second, score): &(&str, &str, f32)| ScoredPair {
        first: (*first).to_owned(),
        second: (*second).to_owned(),
        score: *score,
    };
    let subsets = subsets.iter().map(|(name, rows)| Subset { name: (*name).to_owned(), rows: rows.clone() });
    PairSet {
        name: name.to_owned(),
        split,
        rows: rows.iter().map(pair).collect(),
        subsets: subsets.collect(),
        files: Vec::new(),
        origin: Origin::OwnFile,
        remarks: Vec::new(),
    }
}

/// Embeds the sentence "30" as the unit vector at 30 degrees.
struct Angle;

impl Embedder for Angle {
    fn embedding_size(&self) -> usize {
        2
    }

    fn embed(&self, sentences: &[&str]) -> anyhow::Result<Embedded> {
        let angles = sentences.iter().map(|sentence| sentence.parse::<f32>().map(f32::to_radians));
        let rows: Vec<[f32; 2]> =
            angles.map(|angle| angle.map(|a| [a.cos(), a.sin()])).collect::<Result<_, _>>()?;
        // A protractor that ends at 85.
        let truncated = sentences.iter().filter(|sentence| **sentence > "85").count();
        Ok(Embedded { embeddings: rows.concat(), truncated })
    }
}

const BINARY: [(&str, &str, f32); 4] =
    [("0", "10", 1.0), ("0", "90", 0.0), ("10", "50", 1.0), ("50", "80", 0.0)];

fn close(scores: &Scores, name: &str, expected: f64) {
    let found = scores.get(name).unwrap_or_else(|| panic!("{name} is absent; there are {:?}", scores.keys()));
    assert!((found - expected).abs() < 1e-6, "{name}: {found} against {expected}");
}

// import numpy as np, scipy.stats as s
// c = np.cos(np.radians([10, 90, 40, 30])); y = [1, 0, 1, 0]
// s.spearmanr(c, y)[0]; s.pearsonr(c, y)[0]; sklearn.metrics.roc_auc_score(y, c)
// np.mean(2 - 2 * np.cos(np.radians([10, 40])))                      # alignment
// a = np.radians([0, 10, 50, 80, 90]); d = 2 - 2 * np.cos(a[:, None] - a)
// np.log(np.exp(-2 * d[np.triu_indices(5, 1)]).mean())               # uniformity
#[test]
fn binary_pairs_have_every_metric() {
    let scores = evaluate(&Angle, &[set("lcqmc", Split::Test, &BINARY, &[])]).unwrap();
    close(&scores, "lcqmc/test/spearman", 0.4472135954999579);
    close(&scores, "lcqmc/test/spearman_ceiling", 0.8944271909999159);
    close(&scores, "lcqmc/test/pearson", 0.5737127797937014);
    close(&scores, "lcqmc/test/auc", 0.75);
    close(&scores, "lcqmc/test/accuracy", 0.75);
    close(&scores, "lcqmc/test/alignment", 0.24914780386881397);
    close(&scores, "lcqmc/test/uniformity", -1.0064999984454985);
    close(&scores, "lcqmc/all/spearman_weighted", 0.4472135954999579);
    assert_eq!(scores.len(), 11, "{scores:?}");
}

#[test]
fn all_weighs_splits_by_size() {
    let dev = [("0", "10", 1.0), ("0", "20", 0.0)];
    let sets = [set("lcqmc", Split::Dev, &dev, &[]), set("lcqmc", Split::Test, &BINARY, &[])];
    let scores = evaluate(&Angle, &sets).unwrap();
    close(&scores, "lcqmc/dev/spearman", 1.0);
    close(&scores, "lcqmc/all/spearman_weighted", (2.0 * 1.0 + 4.0 * 0.4472135954999579) / 6.0);
    close(&scores, "lcqmc/all/spearman_weighted_ceiling", (2.0 * 1.0 + 4.0 * 0.8944271909999159) / 6.0);
}

#[test]
fn subsets_are_scored_together_and_apart() {
    // In the first subset the order is right (1), in the second reversed (-1).
    let rows = [("0", "5", 5.0), ("0", "50", 2.0), ("0", "70", 1.0), ("0", "20", 1.0), ("0", "30", 4.5)];
    let sets = [set("sts12", Split::Test, &rows, &[("MSRpar", 0..3), ("MSRvid", 3..5)])];
    let scores = evaluate(&Angle, &sets).unwrap();
    close(&scores, "sts12/test/spearman_mean", 0.0);
    close(&scores, "sts12/test/spearman_wmean", (3.0 - 2.0) / 5.0);
    // scipy.stats.spearmanr([-5, -50, -70, -20, -30], [5, 2, 1, 1, 4.5])[0]
    close(&scores, "sts12/test/spearman_all", 0.5642880936468347);
    assert!(!scores.contains_key("sts12/test/spearman") && !scores.contains_key("sts12/test/auc"));
    // Above 4: the first and the last pair.
    let expected =
        [5.0_f64, 30.0].map(|angle| 2.0 - 2.0 * angle.to_radians().cos()).iter().sum::<f64>() / 2.0;
    close(&scores, "sts12/test/alignment", expected);
}

#[test]
fn selection_and_report_agree() {
    let set = set("lcqmc", Split::Dev, &BINARY, &[]);
    let reported = evaluate(&Angle, std::slice::from_ref(&set)).unwrap()["lcqmc/dev/spearman"];
    let seen = dev_scores(&Angle, &set).unwrap();
    assert_eq!(seen.spearman, reported);
    let all = evaluate(&Angle, std::slice::from_ref(&set)).unwrap();
    assert!(!seen.geometry.is_empty());
    assert!(seen.geometry.iter().all(|(name, value)| all[name] == *value), "as at the end");
}

#[test]
fn sentences_that_were_cut_are_counted_once() {
    let sets = [set("lcqmc", Split::Dev, &BINARY, &[]), set("lcqmc", Split::Test, &BINARY, &[])];
    assert_eq!(evaluate(&Angle, &sets).unwrap()[TRUNCATED], 1.0, "90 alone, which stands in both");
}

#[test]
fn a_scorer_that_leaves_pairs_out_is_refused() {
    struct Short;
    impl PairScorer for Short {
        fn score(&self, pairs: &[ScoredPair]) -> anyhow::Result<Vec<f64>> {
            Ok((1..pairs.len()).map(|row| row as f64).collect())
        }
    }
    let error = evaluate_scorer(&Short, &[set("lcqmc", Split::Test, &BINARY, &[])]).unwrap_err().to_string();
    assert_eq!(error, "lcqmc/test: 3 scores for 4 pairs");
}

#[test]
fn a_collapsed_encoder_is_an_error_and_not_zero() {
    struct Collapsed;
    impl Embedder for Collapsed {
        fn embedding_size(&self) -> usize {
            1
        }
        fn embed(&self, sentences: &[&str]) -> anyhow::Result<Embedded> {
            Ok(Embedded { embeddings: vec![1.0; sentences.len()], truncated: 0 })
        }
    }
    let error = format!("{:#}", evaluate(&Collapsed, &[set("bq", Split::Test, &BINARY, &[])]).unwrap_err());
    assert!(error.starts_with("bq/test: all 4 scores are 1"), "{error}");
}

#[test]
fn of_many_sentences_a_fixed_draw_is_taken() {
    let names: Vec<String> = (0..2 * UNIFORMITY_SENTENCES).map(|number| number.to_string()).collect();
    let mut rows: Vec<_> = names.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str(), 1.0)).collect();
    let drawn = drawn_sentences(&set("a", Split::Test, &rows, &[]).rows).join(" ");
    assert_eq!(drawn.split(' ').count(), UNIFORMITY_SENTENCES);
    rows.reverse();
    assert_eq!(
        drawn,
        drawn_sentences(&set("a", Split::Test, &rows, &[]).rows).join(" "),
        "order does not count"
    );
}
