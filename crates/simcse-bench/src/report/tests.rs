//! Tests of the report from runs to files.

use std::path::Path;

use super::fixtures::{TABLES, changed, run, write, write_definitions};
use super::*;
use crate::record::Status;

fn definitions() -> Definitions {
    let folder = tempfile::tempdir().unwrap();
    write_definitions(folder.path(), TABLES);
    Definitions::read(&folder.path().join("tables.toml")).unwrap()
}

fn table(runs: &[LoadedRun]) -> anyhow::Result<Table> {
    let definitions = definitions();
    build_table(&definitions.table[0], View::Test, runs, &definitions.published)
}

fn baseline() -> LoadedRun {
    changed(run("character-jaccard", 0, 0.505), |summary| {
        summary.experiment = "baselines".to_owned();
        summary.label = "Jaccard | characters".to_owned();
    })
}

/// 0.60, 0.61, 0.62: mean 0.61, sample sd 0.01.
fn three_seeds() -> Vec<LoadedRun> {
    vec![run("dropout-0.1", 3, 0.62), run("dropout-0.1", 1, 0.60), run("dropout-0.1", 2, 0.61)]
}

#[test]
fn markdown_shows_mean_sd_count_and_what_is_missing() {
    let mut runs = three_seeds();
    runs.push(baseline());
    let failed = |summary: &mut crate::record::Summary| {
        (summary.status, summary.reason) = (Status::Failed, Some("loss is NaN".to_owned()));
        summary.metrics.clear();
    };
    runs.push(changed(run("dropout-0.1", 4, 0.0), failed));
    for (seed, spearman) in (1..).zip([0.55, 0.551, 0.552]) {
        runs.push(changed(run("dropout-0.05", seed, spearman), |summary| summary.transductive = true));
    }
    runs.push(changed(run("dropout-9", 1, 0.0), failed));
    let expected = "\
**TextCNN** (test split)

| | n | LCQMC | ATEC | average |
|---|--:|--:|--:|--:|
| ceiling (labels are tied) |  | 86.6 | — | — |
| word2vec |  | 59.5 | — | — |
| Jaccard \\| characters | 1 | 50.5 | — | — |
| dropout 0.05 † | 3 | 55.1 ± 0.1 | — | — |
| dropout 0.1 | 3 (1 failed) | **61.0 ± 1.0** | — | — |
| dropout 9 | 0 (1 failed) | — | — | — |

n: seeds; cells: mean ± standard deviation over seeds, × 100.
Ceiling: the highest Spearman that scores without ties can reach on these labels.
word2vec: a README, test split.
† Training saw unlabelled text of an evaluation set.
";
    assert_eq!(render::markdown(&table(&runs).unwrap()), expected);
}

#[test]
fn csv_and_latex_hold_the_same_numbers() {
    let mut runs = three_seeds();
    runs.push(baseline());
    let table = table(&runs).unwrap();
    let csv = render::csv(&table).unwrap();
    let row = csv.lines().last().unwrap();
    assert!(row.starts_with("dropout 0.1,runs,textcnn,dropout-0.1,dropout,3,0,0,false,0.61,0.01"), "{csv}");
    let latex = render::latex(&table);
    assert!(latex.contains("dropout 0.1 & 3 & \\textbf{61.0 $\\pm$ 1.0} & --- & --- \\\\"), "{latex}");
}

/// `scipy.stats.ttest_rel([.6, .61, .62], [.598, .604, .61])`: p = .122; `ttest_1samp` against
/// .585: p = .049, against .6: p = .225.
#[test]
fn the_highest_is_bold_only_where_a_test_says_that_it_is_better_than_every_other() {
    let is_bold = |others: &[LoadedRun]| {
        let table = table(&[three_seeds(), others.to_vec()].concat()).unwrap();
        let bold: Vec<&str> = table
            .rows
            .iter()
            .filter(|row| row.cells[0].is_some_and(|cell| cell.best))
            .map(|row| &*row.label)
            .collect();
        bold == ["dropout 0.1"]
    };
    let near: Vec<LoadedRun> =
        (1..).zip([0.598, 0.604, 0.61]).map(|(seed, value)| run("near", seed, value)).collect();
    let far: Vec<LoadedRun> =
        (1..).zip([0.4, 0.41, 0.421]).map(|(seed, value)| run("far", seed, value)).collect();
    let fixed = |value: f64| {
        changed(baseline(), |summary| {
            summary.metrics.insert("lcqmc/test/spearman".to_owned(), value);
        })
    };
    assert!(is_bold(&far));
    assert!(!is_bold(&[near, far].concat()), "one of them is too near");
    assert!(is_bold(&[fixed(0.585)]) && !is_bold(&[fixed(0.6)]));
    assert!(!is_bold(&[run("one", 1, 0.1)]), "one seed: no test");
    assert!(!is_bold(&[]), "better than nothing");
}

#[test]
fn published_values_stand_beside_the_rows_of_their_configurations() {
    let mut definitions = definitions();
    definitions.table[0].reference = Some("bert".to_owned());
    let runs = [three_seeds(), vec![run("dropout-9", 1, 0.5)]].concat();
    let table = build_table(&definitions.table[0], View::Test, &runs, &definitions.published).unwrap();
    let text = render::markdown(&table);
    assert!(text.contains("| | n | LCQMC | ATEC | average | BERT |"), "{text}");
    assert!(text.contains("| dropout 0.1 | 3 | 61.0 ± 1.0 | — | — | 82.5 |"), "{text}");
    assert!(text.contains("| dropout 9 | 1 | 50.0 | — | — | — |"), "{text}");
    assert!(text.contains("\nBERT: a paper, table 3.\n"), "{text}");
}

#[test]
fn a_row_may_stand_first_whatever_its_group() {
    let mut definitions = definitions();
    let definition = &mut definitions.table[0];
    let runs =
        [three_seeds(), vec![changed(run("other", 1, 0.5), |summary| summary.group = "aside".to_owned())]]
            .concat();
    let labels = |definition: &TableDefinition| -> Vec<String> {
        let rows = build_table(definition, View::Test, &runs, &[]).unwrap().rows;
        rows.into_iter().filter(|row| matches!(row.kind, RowKind::Runs { .. })).map(|row| row.label).collect()
    };
    definition.groups = Some(vec!["dropout".to_owned()]);
    assert_eq!(labels(definition), ["dropout 0.1"]);
    definition.first = vec!["other".to_owned()];
    assert_eq!(labels(definition), ["other", "dropout 0.1"]);
}

#[test]
fn an_average_needs_every_column() {
    let mut both = run("both", 1, 0.6);
    both.summary.metrics.insert("atec/test/spearman".to_owned(), 0.3);
    let table = table(&[both, run("one", 1, 0.5)]).unwrap();
    let averages: Vec<Option<f64>> =
        table.rows.iter().map(|row| row.cells[2].map(|cell| cell.mean)).collect();
    assert_eq!(averages[2..], [Some((0.6 + 0.3) / 2.0), None]);
    assert_eq!(averages[..2], [None, None], "ceiling and published row lack ATEC");
}

#[test]
fn a_row_is_not_mixed_from_different_configurations_or_data() {
    type Change = fn(&mut crate::record::Summary);
    let changes: [(&str, Change); 4] = [
        ("config_sha256", |summary| summary.config_sha256 = "other".to_owned()),
        ("data_sha256", |summary| summary.data_sha256 = "other".to_owned()),
        ("transductive", |summary| summary.transductive = true),
        ("label", |summary| summary.label = "other".to_owned()),
    ];
    for (field, change) in changes {
        let error = table(&[run("a", 1, 0.5), changed(run("a", 2, 0.5), change)]).unwrap_err().to_string();
        let expected = format!("runs/textcnn/a-s1 and runs/textcnn/a-s2 differ in {field}, ");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn rows_scored_on_different_copies_are_not_compared() {
    let other = changed(run("b", 1, 0.5), |summary| {
        summary.evaluation_sha256.insert("lcqmc/test".to_owned(), "other".to_owned());
    });
    let error = table(&[run("a", 1, 0.5), other]).unwrap_err().to_string();
    assert!(error.contains("a-s1 and runs/textcnn/b-s1 were scored on different copies of lcqmc"), "{error}");
}

#[test]
fn loading_leaves_out_the_sample_and_names_what_is_malformed() {
    let results = tempfile::tempdir().unwrap();
    three_seeds().iter().for_each(|run| write(results.path(), run));
    write(results.path(), &changed(run("sample", 1, 0.9), |summary| summary.real_data = false));
    std::fs::create_dir_all(results.path().join("runs/textcnn/killed-s1")).unwrap();
    let set = load_results(results.path()).unwrap();
    assert_eq!((set.runs.len(), set.sample, set.unfinished), (3, 1, 1));

    let place = results.path().join("runs/textcnn");
    let config = place.join("dropout-0.1-s1/config.toml");
    let before = std::fs::read(&config).unwrap();
    std::fs::write(&config, "name = \"edited by hand\"\n").unwrap();
    let error = load_results(results.path()).unwrap_err().to_string();
    assert!(
        error.contains("config.toml: is not the configuration that summary.json was made with"),
        "{error}"
    );
    std::fs::write(&config, before).unwrap();

    std::fs::create_dir_all(place.join("copy-s1")).unwrap();
    std::fs::copy(place.join("dropout-0.1-s1/summary.json"), place.join("copy-s1/summary.json")).unwrap();
    let error = load_results(results.path()).unwrap_err().to_string();
    assert!(error.contains("copy-s1/summary.json: is the run textcnn/dropout-0.1-s1; fix: "), "{error}");

    std::fs::write(place.join("copy-s1/summary.json"), "{\n\"schema\": 1,\n\"surprise\": 2}").unwrap();
    let error = format!("{:#}", load_results(results.path()).unwrap_err());
    assert!(error.contains("copy-s1/summary.json:3: unknown field `surprise`"), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn the_same_run_twice_is_refused() {
    let summaries = [run("a", 1, 0.5).summary, run("a", 1, 0.6).summary];
    assert!(terminal_table(&summaries).unwrap_err().to_string().contains("are the same run"));
}

#[test]
fn a_terminal_table_shows_the_sample_marked() {
    let sample = changed(run("a", 1, 0.5), |summary| summary.real_data = false);
    let text = terminal_table(&[sample.summary]).unwrap();
    assert!(text.contains("a (bundled sample)") && text.contains("50.0"), "{text}");
    assert!(!text.contains("dev split"), "nothing was scored on dev: {text}");
}

/// SentEval's sets have subsets, and Spearman over all of their pairs by another name.
#[test]
fn a_terminal_table_shows_tasks_with_subsets() {
    let english = changed(run("a", 1, 0.5), |summary| {
        for (name, value) in [("sts12/test/spearman_all", 0.61), ("sts12/test/spearman_mean", 0.72)] {
            summary.metrics.insert(name.to_owned(), value);
        }
        summary.metrics.insert("evaluation_truncated".to_owned(), 3.0);
    });
    let text = terminal_table(&[english.summary]).unwrap();
    let shown = ["lcqmc", "50.0", "sts12", "61.0"].iter().all(|part| text.contains(part));
    assert!(shown && !text.contains("72.0") && !text.contains("truncated"), "{text}");
    assert!(text.find("lcqmc") < text.find("sts12"), "{text}");
}

#[test]
fn stale_files_are_found_and_mended() {
    let root = tempfile::tempdir().unwrap();
    let results = root.path().join("results");
    std::fs::create_dir_all(results.join("tables")).unwrap();
    write_definitions(&results, TABLES);
    let readme = "# Title\n<!-- BEGIN: textcnn.test -->\n<!-- END: textcnn.test -->\n";
    std::fs::write(root.path().join("README.md"), readme).unwrap();
    std::fs::write(results.join("tables/old.test.md"), "left over").unwrap();
    three_seeds().iter().for_each(|run| write(&results, run));

    let report = generate(root.path()).unwrap();
    let stale = report.stale().unwrap();
    assert_eq!(
        stale.len(),
        1 + 1 + 2 + 1 + 9,
        "README, the page, two figures, the left-over table, three formats of three views: {stale:?}"
    );
    assert_eq!(report.write().unwrap(), stale);
    assert!(generate(root.path()).unwrap().stale().unwrap().is_empty());
    let spliced = std::fs::read_to_string(root.path().join("README.md")).unwrap();
    assert!(spliced.contains("generated by `just tables`") && spliced.contains("61.0 ± 1.0"), "{spliced}");
    assert!(!results.join("tables/old.test.md").exists());

    std::fs::write(results.join("tables/textcnn.test.md"), "edited by hand").unwrap();
    let stale = generate(root.path()).unwrap().stale().unwrap();
    assert_eq!(stale, [Path::new("results/tables/textcnn.test.md")]);
}

#[test]
fn an_unknown_key_in_the_definitions_names_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tables.toml");
    write_definitions(folder.path(), &TABLES.replace("average = true", "avrage = true"));
    let error = format!("{:#}", Definitions::read(&path).unwrap_err());
    assert!(error.contains("tables.toml:8: unknown field `avrage`"), "{error}");
    assert_eq!(error.lines().count(), 1);
}
