//! Baselines on the real data sets, against scores measured elsewhere.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::PathBuf;

use simcse_bench::baselines::{Baseline, evaluate_baseline};
use simcse_bench::tasks::load_task_sets;
use simcse_data::{DataSource, Split};

/// A folder from the environment. Where it is not set the test is left out, except in CI, where that is a
/// failure.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI needs {variable}");
        eprintln!("left out: needs {variable} (see README, Tests)");
    }
    folder
}

// Measured in Python with the same files: len(a & b) / len(a | b) of the sets of characters, then
// scipy.stats.spearmanr. LCQMC 50.5, ATEC 27.1, STS-B zh 58.6.
#[test]
fn character_jaccard_equals_python() {
    let Some(data) = folder("SIMCSE_DATA_DIR") else { return };
    let source = DataSource::new(Some(data)).unwrap();
    let sets = load_task_sets(&source, &["lcqmc", "atec", "stsb_zh"], &[Split::Test]).unwrap();
    assert!(sets.missing.is_empty(), "{:?}", sets.missing);
    let scores = evaluate_baseline(&Baseline::CharacterJaccard, &sets.sets).unwrap();
    for (task, expected) in
        [("lcqmc", 0.5046601355684823), ("atec", 0.27142736804628065), ("stsb_zh", 0.5858237168654186)]
    {
        let found = scores[&format!("{task}/test/spearman")];
        assert!((found - expected).abs() < 1e-6, "{task}: {found} against {expected}");
    }
}

// import numpy as np, safetensors.numpy, scipy.stats as s
// v = next(iter(safetensors.numpy.load_file("char_embedding_300.safetensors").values())).astype("f8")
// row = {}; [row.setdefault(c.rstrip("\r\n"), i) for i, c in enumerate(open("b.14067n.300d.vocab", newline="\n"))]
// def embed(t): k = [row.get(c, row.get(c.lower())) for c in sorted(t) if not c.isspace()]
//     return v[[i for i in k if i is not None]].mean(0)
// def cos(a, b): return a @ b / np.sqrt((a @ a) * (b @ b))
// s.spearmanr([cos(embed(a), embed(b)) for a, b, _ in pairs], [y for _, _, y in pairs])[0]
#[test]
fn mean_of_given_vectors_equals_numpy() {
    let (Some(data), Some(models)) = (folder("SIMCSE_DATA_DIR"), folder("SIMCSE_MODEL_DIR")) else { return };
    let source = DataSource::new(Some(data)).unwrap();
    let sets = load_task_sets(&source, &["stsb_zh"], &[Split::Test]).unwrap().sets;
    let path = models.join("char-vectors-zh/char_embedding_300.safetensors");
    let scores = evaluate_baseline(&Baseline::MeanCharacterVectors { path }, &sets).unwrap();
    let found = scores["stsb_zh/test/spearman"];
    assert!((found - 0.5342825811554522).abs() < 1e-7, "{found}");
}
