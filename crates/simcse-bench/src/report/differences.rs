//! Tables of differences between configurations, with paired tests over seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::definition::{ComparisonDefinition, View};
use super::render::escape_markdown;
use crate::comparison::{Comparison, Contestants, Verdict};
use crate::record::Summary;

/// One view of a table of differences as Markdown.
///
/// Fails when a configuration has no finished run, and when two were scored on different data.
pub(super) fn markdown(definition: &ComparisonDefinition, view: View, runs: &[&Summary]) -> Result<String> {
    let labels: Vec<String> =
        definition.columns.iter().map(|column| escape_markdown(&column.label)).collect();
    let mut text = format!(
        "**{}** ({})\n\n| | against | n | {} | average |\n|---|---|--:|{}\n",
        escape_markdown(&definition.title),
        view.title(),
        labels.join(" | "),
        "--:|".repeat(labels.len() + 1)
    );
    let metrics: Vec<String> = definition.columns.iter().map(|column| column.metric_name(view)).collect();
    let metrics: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let mut pairs = Vec::with_capacity(definition.pairs.len());
    let mut names = NamesOfLabels::new();
    for [first, second] in &definition.pairs {
        let at = move || format!("comparison {}: {first} with {second}", definition.name);
        let contestants = Contestants::select(runs, first, second).with_context(at)?;
        let labels = contestants.labels();
        names.entry(labels.0).or_default().insert(first);
        names.entry(labels.1).or_default().insert(second);
        pairs.push((at, [first, second], contestants));
    }
    for (at, [first, second], contestants) in &pairs {
        let average = contestants.compare_average(&metrics).with_context(at)?;
        let mut compared = metrics
            .iter()
            .map(|metric| contestants.compare(metric).with_context(at))
            .collect::<Result<Vec<Option<Comparison>>>>()?;
        compared.push(average);
        let count = compared.iter().flatten().map(|comparison| comparison.count).max().unwrap_or(0);
        let cells: Vec<String> = compared.iter().map(|comparison| cell(comparison.as_ref())).collect();
        let labels = contestants.labels();
        let (first, second) = (shown(labels.0, first, &names), shown(labels.1, second, &names));
        writeln!(text, "| {first} | {second} | {count} | {} |", cells.join(" | "))?;
    }
    text.push_str(
        "\nDifference of the means × 100 with its 95 % interval, by a paired t-test over the seeds that both have; in \
         bold where it can be claimed (p < .05).\n",
    );
    if let Some(note) = &definition.note {
        writeln!(text, "{}", escape_markdown(note))?;
    }
    Ok(text)
}

/// The configurations of a table by what people read of them.
type NamesOfLabels<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The label of a configuration `EXPERIMENT/CONFIG`; with its name where another one of the table is called the same.
fn shown(label: &str, name: &str, names: &NamesOfLabels<'_>) -> String {
    let is_shared = names.get(label).is_some_and(|names| names.len() > 1);
    let label = escape_markdown(label);
    if is_shared { format!("{label} (`{name}`)") } else { label }
}

fn cell(comparison: Option<&Comparison>) -> String {
    let Some(comparison) = comparison else { return "—".to_owned() };
    let (first, second) = comparison.means;
    let Some(test) = &comparison.test else { return format!("{:+.1}", 100.0 * (first - second)) };
    let difference = format!("{:+.1}", 100.0 * test.difference);
    let interval = format!("[{:+.1}, {:+.1}]", 100.0 * test.interval.start, 100.0 * test.interval.end);
    match comparison.verdict() {
        Verdict::Better | Verdict::Worse => format!("**{difference}** {interval}"),
        Verdict::Open | Verdict::Untested => format!("{difference} {interval}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    /// As `comparison` reckons them: differences .1 and .12, so t = 11, p = .0577; against one seed there is no test.
    #[test]
    fn cells_have_difference_and_interval_and_bold_where_it_can_be_claimed() {
        let definition: ComparisonDefinition = toml::from_str(
            r#"name = "d"
               title = "Differences"
               pairs = [["textcnn/a", "textcnn/b"], ["textcnn/a", "textcnn/c"], ["textcnn/c", "textcnn/d"]]
               columns = [{ label = "LCQMC", task = "lcqmc" }, { label = "ATEC", task = "atec" }]"#,
        )
        .unwrap();
        let mut runs = vec![fixtures::run("d", 1, 0.4)];
        for (config, values) in [("a", [0.5, 0.53]), ("b", [0.4, 0.41]), ("c", [0.2, 0.2301])] {
            runs.extend((1..).zip(values).map(|(seed, value)| fixtures::run(config, seed, value)));
        }
        let runs: Vec<&Summary> = runs.iter().map(|run| &run.summary).collect();
        let text = markdown(&definition, View::Test, &runs).unwrap();
        assert!(text.contains("| a | b | 2 | +11.0 [-1.7, +23.7] | — | — |"), "{text}");
        assert!(text.contains("| a | c | 2 | **+30.0** [+29.9, +30.1] | — | — |"), "{text}");
        assert!(text.contains("| c | d | 1 | -20.0 | — | — |"), "{text}");
        let mut same: Vec<Summary> = runs.iter().map(|run| (*run).clone()).collect();
        same.iter_mut().filter(|run| run.config == "b").for_each(|run| run.label = "a".to_owned());
        let text = markdown(&definition, View::Test, &same.iter().collect::<Vec<_>>()).unwrap();
        assert!(text.contains("| a (`textcnn/a`) | a (`textcnn/b`) | 2 |"), "{text}");
        assert!(text.contains("| c | d | 1 |"), "others keep their label alone: {text}");
        let missing =
            ComparisonDefinition { pairs: vec![["textcnn/a", "textcnn/x"].map(str::to_owned)], ..definition };
        let error = format!("{:#}", markdown(&missing, View::Test, &runs).unwrap_err());
        assert!(error.contains("comparison d: textcnn/a with textcnn/x"), "{error}");
    }
}
