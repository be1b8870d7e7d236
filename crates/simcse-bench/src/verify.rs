//! Whether the figures of a recorded run come out again.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::config::RunConfig;
use crate::experiment::RunOptions;
use crate::record::Summary;
use crate::recorded::RecordedRun;
use crate::tasks::{SCORED, evaluation_hashes, load_task_sets};

/// How the figures were made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The recorded encoder was scored again.
    Scored,
    /// The run was repeated from its configuration.
    Trained,
}

/// One figure that did not come out again.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Name of the metric.
    pub metric: String,
    /// As recorded.
    pub recorded: f64,
    /// As it came out; `None`: it did not.
    pub found: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// How.
    pub method: Method,
    /// Figures that came out to the last bit.
    pub exact: usize,
    /// Figures that came out within the tolerance.
    pub near: usize,
    /// The largest difference among those.
    pub largest: f64,
    /// Figures that did not.
    pub differences: Vec<Difference>,
    /// Figures that only a training can give, where the encoder was scored.
    pub not_scored: Vec<String>,
    /// Figures that came out and are not in the record: an older program did not reckon them.
    pub not_recorded: Vec<String>,
}

/// Makes the figures of the run in `directory` again: by scoring its recorded encoder, or, with `train` and where there
/// is no encoder, by repeating the run in a folder of its own. `options` say where data and checkpoints are, and where the
/// runs of teachers are recorded. A figure counts as the same within `tolerance`, a fraction.
///
/// # Errors
/// When the record is broken or was changed, when it did not end well, when the data is not that of the run, or when
/// scoring or training fails.
pub fn verify(
    directory: &Path,
    options: &RunOptions,
    train: bool,
    tolerance: f64,
    say: &dyn Fn(&str),
) -> Result<Verification> {
    let run = RecordedRun::read(directory)?;
    let (summary, shown) = (&run.summary, directory.display());
    let scorer = match run.config() {
        Some(_) if train => None,
        _ => run.scorer(options.model_dir.as_deref())?,
    };
    let Some(scorer) = scorer else {
        let config = run.config().context("a run without a configuration")?;
        let again = train_again(config, options, say)?;
        check_data(summary, &again.evaluation_sha256)?;
        ensure!(
            again.data_sha256 == summary.data_sha256,
            "{shown}: was made with other data or checkpoints; fix: give the folders of the run"
        );
        return Ok(compare(Method::Trained, &summary.metrics, &again.metrics, tolerance));
    };
    let sets = load_task_sets(&options.source, &run.tasks(), &SCORED)?.sets;
    check_data(summary, &evaluation_hashes(&sets))?;
    let mut verification = compare(Method::Scored, &summary.metrics, &scorer.evaluate(&sets)?, tolerance);
    let of_training =
        |difference: &Difference| difference.found.is_none() && !difference.metric.contains('/');
    let (not_scored, differences) = verification.differences.into_iter().partition(of_training);
    let not_scored: Vec<Difference> = not_scored;
    verification.differences = differences;
    verification.not_scored = not_scored.into_iter().map(|difference| difference.metric).collect();
    Ok(verification)
}

/// The run once more, in a folder that is removed afterwards.
fn train_again(config: &RunConfig, options: &RunOptions, say: &dyn Fn(&str)) -> Result<Summary> {
    let folder =
        tempfile::tempdir().context("no temporary folder; fix: set TMPDIR to one that can be written")?;
    let mut config = config.clone();
    // The run of a teacher is not in the new folder.
    let teacher = config.teacher.as_mut().and_then(|teacher| teacher.encoder.as_mut());
    if let Some(encoder) = teacher {
        let recorded = options.results.join("runs").join(&*encoder).join("encoder");
        if recorded.is_dir() {
            *encoder = recorded.display().to_string();
        }
    }
    let options = RunOptions { results: folder.path().to_owned(), ..options.clone() };
    options.run(&config, say)
}

/// Figures on other data prove nothing.
fn check_data(summary: &Summary, found: &BTreeMap<String, String>) -> Result<()> {
    for (set, recorded) in &summary.evaluation_sha256 {
        let found = found.get(set);
        ensure!(
            found == Some(recorded),
            "{set}: {}; fix: give the data folder of the run",
            if found.is_some() { "not the file that the run was scored on" } else { "is not there" }
        );
    }
    Ok(())
}

fn compare(
    method: Method,
    recorded: &BTreeMap<String, f64>,
    found: &BTreeMap<String, f64>,
    tolerance: f64,
) -> Verification {
    let (mut exact, mut near, mut largest, mut differences) = (0, 0, 0.0_f64, Vec::new());
    for (name, &recorded) in recorded {
        match found.get(name).copied() {
            // A figure of the record has the digits that give its bits back.
            Some(found) if found.to_bits() == recorded.to_bits() => exact += 1,
            Some(found) if (found - recorded).abs() <= tolerance => {
                near += 1;
                largest = largest.max((found - recorded).abs());
            }
            found => differences.push(Difference { metric: name.clone(), recorded, found }),
        }
    }
    let not_recorded = found.keys().filter(|name| !recorded.contains_key(*name)).cloned().collect();
    Verification { method, exact, near, largest, differences, not_scored: Vec::new(), not_recorded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_exact_near_or_different() {
        let figures = |values: &[(&str, f64)]| -> BTreeMap<String, f64> {
            values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let recorded = figures(&[("a", 0.5), ("b", 0.5), ("c", 0.5), ("d", 0.5)]);
        let found = figures(&[("a", 0.5), ("b", 0.500_05), ("c", 0.6), ("e", 0.5)]);
        let verification = compare(Method::Scored, &recorded, &found, 1e-4);
        assert_eq!((verification.exact, verification.near), (1, 1));
        assert!((verification.largest - 5e-5).abs() < 1e-12);
        let named = |name: &str, recorded, found| Difference { metric: name.to_owned(), recorded, found };
        assert_eq!(verification.differences, [named("c", 0.5, Some(0.6)), named("d", 0.5, None)]);
        assert_eq!(verification.not_recorded, ["e"]);
    }
}
