//! From an embedder or a scorer to named metrics.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use rand::seq::SliceRandom as _;
use simcse_data::{PairSet, ScoredPair};
use simcse_random::Stream;

use super::{CosineScorer, PairScorer};
use crate::embedder::{EmbeddedSentences, Embedder};
use crate::metrics::{area_under_curve, best_accuracy, is_binary, pearson, spearman, spearman_ceiling};

/// Metrics by name; correlations are fractions, not per cent. What could not be computed is absent.
pub type Scores = BTreeMap<String, f64>;

/// Uniformity looks at all pairs of sentences, so its time grows with the square of their number. Of a larger
/// set this many sentences are drawn, the same ones for every encoder.
const UNIFORMITY_SENTENCES: usize = 2_000;

/// The metric that counts sentences which the encoder saw in part only.
pub const TRUNCATED: &str = "evaluation_truncated";

/// Gold scores above this make a positive pair for alignment on a graded scale (SimCSE, section 3).
const GRADED_POSITIVE: f32 = 4.0;

/// Everything about an encoder on these sets, each unique sentence embedded once. For a set `lcqmc/test`:
///
/// * `lcqmc/test/spearman`, `…/spearman_ceiling`, `…/pearson` of the cosine;
/// * binary gold labels: `…/auc`, `…/accuracy` (best over thresholds chosen on the same labels),
///   `…/accuracy_threshold`;
/// * `…/alignment` of the positive pairs (label 1; on a graded scale above 4), `…/uniformity` of the unique
///   sentences (of more than 2,000, a fixed draw of 2,000);
/// * sets with subsets: `sts12/test/spearman_all` (concatenated, one Spearman), `…/spearman_mean`,
///   `…/spearman_wmean` (weighted by size) in place of `spearman`;
/// * over the splits given of one data set: `lcqmc/all/spearman_weighted = sum n_i rho_i / sum n_i`, and its
///   ceiling;
/// * `evaluation_truncated`: how many of the unique sentences of all sets the encoder cut off at its limit.
///
/// # Errors
/// When the embedder fails, or a correlation is not defined (all scores equal).
pub fn evaluate(embedder: &dyn Embedder, sets: &[PairSet]) -> anyhow::Result<Scores> {
    let embedded = EmbeddedSentences::new(embedder, sets.iter().flat_map(|set| sentences(set.pairs())))?;
    let mut scores = evaluate_scorer(&CosineScorer { embedded: &embedded }, sets)?;
    for set in sets {
        add_geometry(&embedded, set, &mut scores)?;
    }
    scores.insert(TRUNCATED.to_owned(), embedded.truncated() as f64);
    Ok(scores)
}

/// As [`evaluate`], for something that scores pairs without embeddings: no alignment and uniformity.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_scorer(scorer: &dyn PairScorer, sets: &[PairSet]) -> anyhow::Result<Scores> {
    let mut scores = Scores::new();
    let mut weighted: BTreeMap<&str, Weighted> = BTreeMap::new();
    for set in sets {
        let place = format!("{}/{}", set.name, set.split);
        let (given, gold) = score_set(scorer, set)?;
        let (correlation, ceiling) =
            add_correlations(set, &given, &gold, &mut scores).context(place.clone())?;
        weighted.entry(&set.name).or_default().add(gold.len(), correlation, ceiling);
        if is_binary(&gold) {
            let best = best_accuracy(&given, &gold)?;
            scores.insert(format!("{place}/auc"), area_under_curve(&given, &gold)?);
            scores.insert(format!("{place}/accuracy"), best.accuracy);
            scores.insert(format!("{place}/accuracy_threshold"), best.threshold);
        }
    }
    for (name, sum) in weighted {
        let count = sum.count as f64;
        scores.insert(format!("{name}/all/spearman_weighted"), sum.correlation / count);
        scores.insert(format!("{name}/all/spearman_weighted_ceiling"), sum.ceiling / count);
    }
    Ok(scores)
}

/// What is looked at during training.
#[derive(Debug, Clone, PartialEq)]
pub struct DevScores {
    /// Spearman of the cosine, for selection; with subsets, over all of them together.
    pub spearman: f64,
    /// Alignment and uniformity by their names (`stsb/dev/alignment`), as far as the set has them: how the embeddings
    /// move while they are trained.
    pub geometry: Scores,
}

/// One set during training.
///
/// # Errors
/// As [`evaluate`].
pub fn dev_scores(embedder: &dyn Embedder, set: &PairSet) -> anyhow::Result<DevScores> {
    let embedded = EmbeddedSentences::new(embedder, sentences(set.pairs()))?;
    let (given, gold) = score_set(&CosineScorer { embedded: &embedded }, set)?;
    let spearman = spearman(&given, &gold).with_context(|| format!("{}/{}", set.name, set.split))?;
    let mut geometry = Scores::new();
    add_geometry(&embedded, set, &mut geometry)?;
    Ok(DevScores { spearman, geometry })
}

/// Sums over the splits of a data set.
#[derive(Debug, Default)]
struct Weighted {
    count: usize,
    correlation: f64,
    ceiling: f64,
}

impl Weighted {
    fn add(&mut self, count: usize, correlation: f64, ceiling: f64) {
        self.count += count;
        self.correlation += count as f64 * correlation;
        self.ceiling += count as f64 * ceiling;
    }
}

fn sentences(pairs: &[ScoredPair]) -> impl Iterator<Item = &str> {
    pairs.iter().flat_map(|pair| [pair.first.as_str(), pair.second.as_str()])
}

/// Scores and gold labels, one of each for every pair.
fn score_set(scorer: &dyn PairScorer, set: &PairSet) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let pairs = set.pairs();
    let given = scorer.score(pairs)?;
    ensure!(
        given.len() == pairs.len(),
        "{}/{}: {} scores for {} pairs",
        set.name,
        set.split,
        given.len(),
        pairs.len()
    );
    Ok((given, pairs.iter().map(|pair| f64::from(pair.score)).collect()))
}

/// Adds the correlations of one set; returns Spearman over all its pairs, and its ceiling.
fn add_correlations(
    set: &PairSet,
    given: &[f64],
    gold: &[f64],
    scores: &mut Scores,
) -> anyhow::Result<(f64, f64)> {
    let place = format!("{}/{}", set.name, set.split);
    let (correlation, ceiling) = (spearman(given, gold)?, spearman_ceiling(gold)?);
    let name = if set.subsets.len() > 1 { "spearman_all" } else { "spearman" };
    scores.insert(format!("{place}/{name}"), correlation);
    scores.insert(format!("{place}/{name}_ceiling"), ceiling);
    scores.insert(format!("{place}/pearson"), pearson(given, gold)?);
    if set.subsets.len() > 1 {
        let (mut mean, mut weighted) = (0.0, 0.0);
        for subset in &set.subsets {
            let rows = subset.rows.clone();
            let rho =
                spearman(&given[rows.clone()], &gold[rows.clone()]).with_context(|| subset.name.clone())?;
            mean += rho / set.subsets.len() as f64;
            weighted += rho * rows.len() as f64 / gold.len() as f64;
        }
        scores.insert(format!("{place}/spearman_mean"), mean);
        scores.insert(format!("{place}/spearman_wmean"), weighted);
    }
    Ok((correlation, ceiling))
}

/// Adds alignment, if there are positive pairs, and uniformity, if there are two sentences.
fn add_geometry(embedded: &EmbeddedSentences, set: &PairSet, scores: &mut Scores) -> anyhow::Result<()> {
    let place = format!("{}/{}", set.name, set.split);
    let size = embedded.embedding_size();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for pair in positives(set.pairs()) {
        first.extend_from_slice(embedded.get(&pair.first)?);
        second.extend_from_slice(embedded.get(&pair.second)?);
    }
    if !first.is_empty() {
        scores.insert(format!("{place}/alignment"), simcse_losses::alignment(&first, &second, size)?);
    }
    let drawn = drawn_sentences(set.pairs());
    if drawn.len() > 1 {
        let mut values = Vec::with_capacity(drawn.len() * size);
        for sentence in drawn {
            values.extend_from_slice(embedded.get(sentence)?);
        }
        scores.insert(format!("{place}/uniformity"), simcse_losses::uniformity(&values, size)?);
    }
    Ok(())
}

/// Pairs that mean the same: label 1 where all labels are 0 or 1, else a gold score above 4.
fn positives(pairs: &[ScoredPair]) -> Vec<&ScoredPair> {
    let binary = pairs.iter().all(|pair| pair.score == 0.0 || pair.score == 1.0);
    let above = if binary { 0.5 } else { GRADED_POSITIVE };
    pairs.iter().filter(|pair| pair.score > above).collect()
}

/// The unique sentences, sorted; of more than [`UNIFORMITY_SENTENCES`] a draw that depends on them alone.
fn drawn_sentences(pairs: &[ScoredPair]) -> Vec<&str> {
    let mut unique: Vec<&str> = sentences(pairs).collect();
    unique.sort_unstable();
    unique.dedup();
    if unique.len() > UNIFORMITY_SENTENCES {
        unique.shuffle(&mut Stream::from_seed(0).named("uniformity-sentences").rng());
        unique.truncate(UNIFORMITY_SENTENCES);
    }
    unique
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
