//! Baselines as recorded runs, so that they are rows of tables like any other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use simcse_data::{DataSource, FileRecord, Origin, PairSet, Split};

use crate::record::{Outcome, RunDirectory, RunIdentity, Summary, files_sha256};
use crate::recorded::RecordedScorer;
use crate::tasks::{CHINESE_TASKS, Scores, evaluation_hashes, load_task_sets};

/// File of character vectors below the model folder.
pub const CHARACTER_VECTORS: &str = "char-vectors-zh/char_embedding_300.safetensors";

/// Name of the experiment that baselines are recorded under.
const EXPERIMENT: &str = "baselines";

/// Seeds of the baseline that has any.
const RANDOM_SEEDS: [u64; 3] = [1, 2, 3];

/// A method that is not trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Baseline {
    /// Jaccard index of the characters.
    CharacterJaccard,
    /// Mean of random vectors of the characters.
    MeanRandomVectors {
        /// Seed of the vectors.
        seed: u64,
    },
    /// Mean of given vectors of the characters.
    MeanCharacterVectors {
        /// File of the vectors.
        path: PathBuf,
    },
}

impl Baseline {
    /// Name of the configuration: `character-jaccard`, `mean-random-vectors`, `mean-character-vectors`.
    pub fn config(&self) -> &'static str {
        match self {
            Self::CharacterJaccard => "character-jaccard",
            Self::MeanRandomVectors { .. } => "mean-random-vectors",
            Self::MeanCharacterVectors { .. } => "mean-character-vectors",
        }
    }

    /// Whether a run recorded a baseline.
    pub(crate) fn is_of(summary: &Summary) -> bool {
        summary.experiment == EXPERIMENT
    }

    /// The baseline that a run recorded. Vectors are those of the model folder.
    ///
    /// Fails when they are not there.
    pub(crate) fn of_run(summary: &Summary, model_dir: Option<&Path>) -> anyhow::Result<Self> {
        let random = Self::MeanRandomVectors { seed: summary.seed };
        if summary.config == Self::CharacterJaccard.config() {
            return Ok(Self::CharacterJaccard);
        }
        if summary.config == random.config() {
            return Ok(random);
        }
        let path = model_dir.map(|folder| folder.join(CHARACTER_VECTORS)).filter(|path| path.is_file());
        let path = path.with_context(|| format!("no {CHARACTER_VECTORS}; fix: give --model-dir"))?;
        Ok(Self::MeanCharacterVectors { path })
    }

    fn label(&self) -> &'static str {
        match self {
            Self::CharacterJaccard => "character Jaccard",
            Self::MeanRandomVectors { .. } => "mean of random character vectors",
            Self::MeanCharacterVectors { .. } => "mean of given character vectors",
        }
    }

    fn seed(&self) -> u64 {
        if let Self::MeanRandomVectors { seed } = self { *seed } else { 0 }
    }

    /// The file of vectors, by hash.
    fn files(&self) -> anyhow::Result<Vec<FileRecord>> {
        let Self::MeanCharacterVectors { path } = self else {
            return Ok(Vec::new());
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(vec![FileRecord::of_file(path, name, 0)?])
    }
}

/// All metrics of a baseline.
///
/// # Errors
/// When vectors cannot be read, or as [`crate::tasks::evaluate`].
pub fn evaluate_baseline(baseline: &Baseline, sets: &[PairSet]) -> anyhow::Result<Scores> {
    RecordedScorer::of_baseline(baseline)?.evaluate(sets)
}

/// Scores every baseline on dev and test of the Chinese tasks and writes their run directories. Without
/// `character_vectors` that baseline is left out. A baseline that fails is recorded as failed, and the others
/// go on.
///
/// # Errors
/// When no evaluation set is found, one cannot be read, or a record cannot be written.
pub fn record_baselines(
    source: &DataSource,
    results: &Path,
    character_vectors: Option<&Path>,
) -> anyhow::Result<Vec<Summary>> {
    let found = load_task_sets(source, &CHINESE_TASKS, &[Split::Dev, Split::Test])?;
    anyhow::ensure!(!found.sets.is_empty(), "{}", found.missing.join("; "));
    record_on(&found.sets, results, character_vectors)
}

fn record_on(
    sets: &[PairSet],
    results: &Path,
    character_vectors: Option<&Path>,
) -> anyhow::Result<Vec<Summary>> {
    let given = character_vectors.map(|path| Baseline::MeanCharacterVectors { path: path.to_owned() });
    let random = RANDOM_SEEDS.map(|seed| Baseline::MeanRandomVectors { seed });
    let all = std::iter::once(Baseline::CharacterJaccard).chain(random).chain(given);
    all.map(|baseline| record_one(&baseline, sets, results)).collect()
}

fn record_one(baseline: &Baseline, sets: &[PairSet], results: &Path) -> anyhow::Result<Summary> {
    let own_files = baseline.files()?;
    let files = || sets.iter().flat_map(|set| &set.files).chain(&own_files);
    let identity = RunIdentity {
        experiment: EXPERIMENT.to_owned(),
        config: baseline.config().to_owned(),
        label: baseline.label().to_owned(),
        group: "baseline".to_owned(),
        seed: baseline.seed(),
        precision: "f32".to_owned(),
        transductive: false,
        real_data: sets.iter().all(|set| set.origin != Origin::Sample),
        data_sha256: files_sha256(files()),
        evaluation_sha256: evaluation_hashes(sets),
    };
    let tasks: Vec<String> = sets.iter().map(|set| format!("{}/{}", set.name, set.split)).collect();
    let config = toml::to_string(&BTreeMap::from([
        ("baseline", toml::Value::from(baseline.config())),
        ("evaluation", toml::Value::from(tasks)),
        ("seed", toml::Value::Integer(baseline.seed().try_into()?)),
    ]))?;
    let data = json!({ "evaluation": files().collect::<Vec<_>>() });
    let run = RunDirectory::create(results, identity, &config, &data)?;
    match evaluate_baseline(baseline, sets) {
        Ok(metrics) => run.finish(Outcome::ok(metrics, 0, 0, 0.0)),
        Err(error) => run.finish(Outcome::failed(format!("{error:#}"), 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simcse_data::load_pairs;

    #[test]
    fn baselines_are_recorded_and_the_sample_is_no_real_data() {
        let results = tempfile::tempdir().unwrap();
        let source = DataSource::new(None).unwrap();
        let sets = [load_pairs(&source, "sample", Split::Test).unwrap()];
        let vectors = results.path().join("vectors.txt");
        std::fs::write(&vectors, "的 1 0\n").unwrap();
        let runs = record_on(&sets, results.path(), Some(&vectors)).unwrap();
        let names: Vec<_> = runs.iter().map(|run| (run.config.as_str(), run.seed, run.real_data)).collect();
        let random = "mean-random-vectors";
        assert_eq!(
            names[..4],
            [("character-jaccard", 0, false), (random, 1, false), (random, 2, false), (random, 3, false)]
        );
        assert_eq!(runs[1].config_sha256, runs[2].config_sha256, "seeds of one row");
        assert_ne!(runs[1].metrics, runs[2].metrics);
        assert!(runs[0].metrics["sample/test/spearman"] > 0.0);
        assert_eq!(runs[4].config, "mean-character-vectors");
        assert!(results.path().join("runs/baselines/character-jaccard-s0/summary.json").is_file());
    }
}
