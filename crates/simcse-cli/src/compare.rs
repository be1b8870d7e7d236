//! `simcse compare`: is one configuration, or one run, better than another?

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use simcse_bench::comparison::{Comparison, Contestants, PairComparison, Verdict, compare_pairs};
use simcse_bench::record::{Summary, find_run};
use simcse_bench::report::load_results;

use crate::data::DataOptions;

/// Compare two configurations by a paired t-test over their common seeds, or two runs by a paired bootstrap over the
/// sentence pairs, which scores their encoders again: difference, 95 % interval and a verdict
#[derive(Debug, clap::Args)]
pub(crate) struct CompareCommand {
    /// EXPERIMENT/CONFIG, as the folders under results/runs are named without the seed, or a run: EXPERIMENT/CONFIG-sSEED
    first: String,
    /// What to compare with, of the same kind. A configuration with the single seed 0 (a raw encoder,
    /// character-jaccard) counts as a fixed value
    second: String,
    /// Compare the metrics whose names end so; of two runs Spearman only
    #[arg(long, value_name = "SUFFIX", default_value = "test/spearman")]
    metric: String,
    /// Draws of pairs, where two runs are compared
    #[arg(long, value_name = "N", default_value_t = 2000)]
    resamples: usize,
    /// Results folder
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Folder with vectors and weights
    #[arg(long, value_name = "DIR", env = "SIMCSE_MODEL_DIR")]
    model_dir: Option<PathBuf>,
    #[command(flatten)]
    data: DataOptions,
}

impl CompareCommand {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        match (find_run(&self.results, &self.first), find_run(&self.results, &self.second)) {
            (Some(first), Some(second)) => self.runs(&first, &second)?,
            (None, None) => self.configurations()?,
            (first, _) => {
                let (run, other) = match first {
                    Some(_) => (&self.first, &self.second),
                    None => (&self.second, &self.first),
                };
                anyhow::bail!(
                    "{run} is one run and {other} is none; fix: give two runs or two configurations"
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn configurations(&self) -> Result<()> {
        let runs = load_results(&self.results)?.runs;
        let all: Vec<&Summary> = runs.iter().map(|run| &run.summary).collect();
        let contestants = Contestants::select(&all, &self.first, &self.second)?;
        let names = contestants.metrics(&self.metric);
        ensure!(
            !names.is_empty(),
            "no metric ends with {:?}; fix: see SCHEMA.md for their names",
            self.metric
        );
        let mut out = io::stdout().lock();
        writeln!(out, "{} - {}, x 100", self.first, self.second)?;
        for name in &names {
            match contestants.compare(name)? {
                Some(comparison) => writeln!(out, "{name}: {}", in_words(&comparison))?,
                None => writeln!(out, "{name}: no seed in common has it on both sides")?,
            }
        }
        if let (2.., Some(comparison)) = (names.len(), contestants.compare_average(&names)?) {
            writeln!(out, "average of these {}: {}", names.len(), in_words(&comparison))?;
        }
        Ok(())
    }

    fn runs(&self, first: &Path, second: &Path) -> Result<()> {
        let suffix = self.metric.strip_suffix("/spearman").with_context(|| {
            format!("--metric {}: two runs are compared by Spearman; fix: end it with /spearman", self.metric)
        })?;
        let source = self.data.source()?;
        let compared =
            compare_pairs((first, second), suffix, &source, self.model_dir.as_deref(), self.resamples)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{} - {}, x 100, {} draws of pairs", self.first, self.second, self.resamples)?;
        for comparison in &compared {
            writeln!(out, "{}/spearman: {}", comparison.set, pairs_in_words(comparison))?;
        }
        Ok(())
    }
}

fn in_words(comparison: &Comparison) -> String {
    let (first, second) = comparison.means;
    let means = format!("{:.1} against {:.1}", 100.0 * first, 100.0 * second);
    let word = word(comparison.verdict());
    let Some(test) = &comparison.test else { return format!("{means}: {word}") };
    let (low, high) = (test.interval.start * 100.0, test.interval.end * 100.0);
    let difference = test.difference * 100.0;
    format!(
        "{means}: {difference:+.1} [{low:+.1}, {high:+.1}], p = {:.2e}, n = {}: {word}",
        test.p, test.count
    )
}

fn pairs_in_words(comparison: &PairComparison) -> String {
    let ((first, second), test) = (comparison.spearman, &comparison.test);
    let (low, high) = (test.interval.start * 100.0, test.interval.end * 100.0);
    format!(
        "{:.1} against {:.1}: {:+.1} [{low:+.1}, {high:+.1}], p = {:.1e}, {} pairs: {}",
        100.0 * first,
        100.0 * second,
        100.0 * test.difference,
        test.p,
        comparison.count,
        word(comparison.verdict())
    )
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Open => "no difference can be claimed",
        Verdict::Untested => {
            "no test can be made (two runs, CONFIG-sSEED each, are compared over their pairs)"
        }
    }
}

#[cfg(test)]
mod tests {
    use simcse_bench::stats::{PairedBootstrap, paired_t_test};

    use super::*;

    #[test]
    fn words_have_difference_interval_p_and_verdict() {
        let (first, second) = ([0.50, 0.52, 0.51], [0.40, 0.43, 0.41]);
        let test = paired_t_test(&first, &second).unwrap();
        let comparison = Comparison { means: (0.51, 0.4133), count: 3, test: Some(test) };
        let text = in_words(&comparison);
        assert_eq!(text, "51.0 against 41.3: +9.7 [+8.2, +11.1], p = 1.19e-3, n = 3: better");
        let one = Comparison { means: (0.5, 0.4), count: 1, test: None };
        assert!(in_words(&one).starts_with("50.0 against 40.0: no test can be made (two runs"));
        let test = PairedBootstrap { difference: -0.1, p: 0.001, interval: -0.15..-0.05, resamples: 2000 };
        let pairs =
            PairComparison { set: "lcqmc/test".to_owned(), count: 12_500, spearman: (0.5, 0.6), test };
        assert_eq!(
            pairs_in_words(&pairs),
            "50.0 against 60.0: -10.0 [-15.0, -5.0], p = 1.0e-3, 12500 pairs: worse"
        );
    }
}
