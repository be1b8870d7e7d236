//! Is one recorded run better than another on the same sentence pairs? A paired bootstrap.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use simcse_data::{DataSource, PairSet};

use super::Verdict;
use crate::metrics::spearman;
use crate::recorded::{RecordedRun, RecordedScorer};
use crate::stats::{PairedBootstrap, paired_bootstrap};
use crate::tasks::{SCORED, evaluation_hashes, load_task_sets};

/// Seed of the draws, so that a comparison repeats itself.
const SEED: u64 = 1;
/// A score made again may differ so much from the record: another processor sums in another order.
const TOLERANCE: f64 = 1e-4;

/// Two runs on the pairs of one set.
#[derive(Debug, Clone, PartialEq)]
pub struct PairComparison {
    /// `lcqmc/test`.
    pub set: String,
    /// Number of pairs.
    pub count: usize,
    /// Spearman of the cosine of both, fractions.
    pub spearman: (f64, f64),
    /// The test.
    pub test: PairedBootstrap,
}

impl PairComparison {
    /// What can be said of the first run: a difference is claimed if the 95 % interval leaves out 0.
    pub fn verdict(&self) -> Verdict {
        match &self.test.interval {
            interval if interval.start > 0.0 => Verdict::Better,
            interval if interval.end < 0.0 => Verdict::Worse,
            _ => Verdict::Open,
        }
    }
}

/// Scores the pairs of the sets whose names end with `suffix` (`test`, `lcqmc/dev`) and that both runs were scored on, with
/// the recorded encoders, and tests the difference of Spearman by so many draws of pairs.
///
/// # Errors
/// When a record is broken or of no use (see [`crate::verify::verify`]), an encoder is not on this machine or does not give
/// the recorded score again, the data is not that of the runs, or no set is common to both.
pub fn compare_pairs(
    (first, second): (&Path, &Path),
    suffix: &str,
    source: &DataSource,
    model_dir: Option<&Path>,
    resamples: usize,
) -> Result<Vec<PairComparison>> {
    let sides = [Side::open(first, model_dir)?, Side::open(second, model_dir)?];
    let [common, other] = sides.each_ref().map(|side| side.run.tasks());
    let tasks: Vec<&str> = common.into_iter().filter(|task| other.contains(task)).collect();
    let sets = load_task_sets(source, &tasks, &SCORED)?.sets;
    let sets: Vec<PairSet> =
        sets.into_iter().filter(|set| format!("{}/{}", set.name, set.split).ends_with(suffix)).collect();
    ensure!(
        !sets.is_empty(),
        "no set whose name ends with {suffix:?} was scored by both; fix: give another --metric, or --data-dir"
    );
    let compare = |set: &PairSet| {
        let name = format!("{}/{}", set.name, set.split);
        let [a, b] = sides.each_ref().map(|side| side.score(set, &name));
        let (a, b) = (a?, b?);
        let gold: Vec<f64> = set.pairs().iter().map(|pair| f64::from(pair.score)).collect();
        let test = paired_bootstrap(&a, &b, &gold, spearman, resamples, SEED).context(name.clone())?;
        let spearman = (spearman(&a, &gold)?, spearman(&b, &gold)?);
        Ok(PairComparison { set: name, count: gold.len(), spearman, test })
    };
    sets.iter().map(compare).collect()
}

/// One of the two runs.
struct Side {
    run: RecordedRun,
    scorer: RecordedScorer,
}

impl Side {
    fn open(directory: &Path, model_dir: Option<&Path>) -> Result<Self> {
        let run = RecordedRun::read(directory)?;
        let scorer = run.scorer(model_dir)?.with_context(|| {
            format!("{}: its encoder is not on this machine; fix: run it again", directory.display())
        })?;
        Ok(Self { run, scorer })
    }

    /// A score for each pair, which together give the recorded Spearman.
    fn score(&self, set: &PairSet, name: &str) -> Result<Vec<f64>> {
        let summary = &self.run.summary;
        let hashes = evaluation_hashes(std::slice::from_ref(set));
        let recorded = [format!("{name}/spearman"), format!("{name}/spearman_all")];
        let recorded = recorded.iter().find_map(|metric| summary.metrics.get(metric));
        let (recorded, hash) = (recorded.copied(), summary.evaluation_sha256.get(name));
        let run = format!("{}-s{}", summary.name(), summary.seed);
        let (Some(recorded), Some(_)) = (recorded, hash) else {
            anyhow::bail!("{run}: {name} was not scored; fix: give another --metric");
        };
        ensure!(
            hash == hashes.get(name),
            "{run}: {name}: not the file that the run was scored on; fix: give the data folder of the run"
        );
        let scores = self.scorer.score(set)?;
        let gold: Vec<f64> = set.pairs().iter().map(|pair| f64::from(pair.score)).collect();
        let found = spearman(&scores, &gold).with_context(|| format!("{run}: {name}"))?;
        ensure!(
            (found - recorded).abs() <= TOLERANCE,
            "{run}: {name}: the encoder gives {found}, recorded is {recorded}; fix: see `simcse verify {run}`"
        );
        Ok(scores)
    }
}
