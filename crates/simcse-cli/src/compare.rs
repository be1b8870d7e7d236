//! `simcse compare`: is one configuration better than another? A paired test over seeds.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use simcse_bench::comparison::{Comparison, Contestants, Verdict};
use simcse_bench::record::Summary;
use simcse_bench::report::load_results;

/// Compare two configurations on every metric that both have, and on the average of these: mean difference, 95 %
/// interval, paired t-test over their common seeds
#[derive(Debug, clap::Args)]
pub(crate) struct CompareCommand {
    /// EXPERIMENT/CONFIG, as the folders under results/runs are named without the seed
    first: String,
    /// EXPERIMENT/CONFIG to compare with; one with the single seed 0 (a raw encoder,
    /// character-jaccard) counts as a fixed value
    second: String,
    /// Compare the metrics whose names end so
    #[arg(long, value_name = "SUFFIX", default_value = "test/spearman")]
    metric: String,
    /// Results folder
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

impl CompareCommand {
    pub(crate) fn run(&self) -> Result<ExitCode> {
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
        Ok(ExitCode::SUCCESS)
    }
}

fn in_words(comparison: &Comparison) -> String {
    let (first, second) = comparison.means;
    let means = format!("{:.1} against {:.1}", 100.0 * first, 100.0 * second);
    let word = match comparison.verdict() {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Open => "no difference can be claimed",
        Verdict::Untested => "no test can be made",
    };
    let Some(test) = &comparison.test else { return format!("{means}: {word}") };
    let (low, high) = (test.interval.start * 100.0, test.interval.end * 100.0);
    let difference = test.difference * 100.0;
    format!(
        "{means}: {difference:+.1} [{low:+.1}, {high:+.1}], p = {:.2e}, n = {}: {word}",
        test.p, test.count
    )
}

#[cfg(test)]
mod tests {
    use simcse_bench::stats::paired_t_test;

    use super::*;

    #[test]
    fn words_have_difference_interval_p_and_verdict() {
        let (first, second) = ([0.50, 0.52, 0.51], [0.40, 0.43, 0.41]);
        let test = paired_t_test(&first, &second).unwrap();
        let comparison = Comparison { means: (0.51, 0.4133), count: 3, test: Some(test) };
        let text = in_words(&comparison);
        assert_eq!(text, "51.0 against 41.3: +9.7 [+8.2, +11.1], p = 1.19e-3, n = 3: better");
        let one = Comparison { means: (0.5, 0.4), count: 1, test: None };
        assert_eq!(in_words(&one), "50.0 against 40.0: no test can be made");
    }
}
