//! Runs for the tests of the report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::LoadedRun;
use crate::record::{SCHEMA_VERSION, Status, Summary, config_sha256};

/// A run of experiment `textcnn` that reached `spearman` on LCQMC test.
pub(super) fn run(config: &str, seed: u64, spearman: f64) -> LoadedRun {
    let metrics = [("spearman", spearman), ("spearman_ceiling", 0.866)];
    let summary = Summary {
        schema: SCHEMA_VERSION,
        experiment: "textcnn".to_owned(),
        config: config.to_owned(),
        label: config.replace('-', " "),
        group: "dropout".to_owned(),
        seed,
        status: Status::Ok,
        reason: None,
        transductive: false,
        real_data: true,
        config_sha256: config_sha256(&config_toml(config)).unwrap(),
        data_sha256: "data".to_owned(),
        evaluation_sha256: BTreeMap::from([("lcqmc/test".to_owned(), "lcqmc".to_owned())]),
        selected_step: 100,
        steps: 800,
        wall_s: 1.0,
        sentences_per_s: 10.0,
        metrics: metrics.map(|(name, value)| (format!("lcqmc/test/{name}"), value)).into(),
    };
    LoadedRun { directory: PathBuf::from(format!("runs/textcnn/{config}-s{seed}")), summary }
}

/// What stands in its `config.toml`.
fn config_toml(config: &str) -> String {
    format!("name = {config:?}\n")
}

/// The same run, changed.
pub(super) fn changed(mut run: LoadedRun, change: impl FnOnce(&mut Summary)) -> LoadedRun {
    change(&mut run.summary);
    run
}

/// Writes a run below `results`, into the directory that its name says.
pub(super) fn write(results: &Path, run: &LoadedRun) {
    let directory = results.join("runs").join(&run.summary.experiment);
    let directory = directory.join(format!("{}-s{}", run.summary.config, run.summary.seed));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), config_toml(&run.summary.config)).unwrap();
    std::fs::write(directory.join("summary.json"), run.summary.sealed(b"").unwrap()).unwrap();
}

/// A file of definitions with one table.
pub(super) const TABLES: &str = r#"
[[table]]
name = "textcnn"
title = "TextCNN"
experiment = "textcnn"
baselines = ["character-jaccard"]
published = ["word2vec"]
average = true
columns = [{ label = "LCQMC", task = "lcqmc" }, { label = "ATEC", task = "atec" }]
"#;

/// `published.csv` for these.
pub(super) const PUBLISHED: &str = "name,label,figure,value,source
word2vec,word2vec,lcqmc/test/spearman,0.5946,\"a README, test split\"
bert,BERT,dropout-0.1,0.825,\"a paper, table 3\"
";

/// Writes both below `results`.
pub(super) fn write_definitions(results: &Path, tables: &str) {
    std::fs::create_dir_all(results).unwrap();
    std::fs::write(results.join("tables.toml"), tables).unwrap();
    std::fs::write(results.join("published.csv"), PUBLISHED).unwrap();
}
