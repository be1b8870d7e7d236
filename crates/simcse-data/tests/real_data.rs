//! Counts of every real data set, against the README of the data folder (not against the catalogue).

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails may panic, one left out says so"
)]

use simcse_data::{
    Corpus, CorpusConfig, DataError, DataManifest, DataSource, HubOptions, Split, TripletOptions, load_nli,
    load_pairs, load_sentences, load_triplets, triplets_from_nli,
};
use simcse_random::Stream;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The real data with no hub behind it; `None` (with a word) where there is none.
fn real_data() -> Option<DataSource> {
    let Some(folder) = std::env::var_os("SIMCSE_DATA_DIR") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "SIMCSE_DATA_DIR must be set in CI");
        eprintln!("left out: needs SIMCSE_DATA_DIR (see README, Tests)");
        return None;
    };
    let nowhere = PathBuf::from("nowhere");
    let hub = HubOptions { offline: true, cache_dir: nowhere.clone(), ..HubOptions::from_env() };
    Some(DataSource::with_places(Some(folder.into()), nowhere.clone(), nowhere, hub).unwrap())
}

/// Remarks without those that the README foretells (repeats, notes on partial sets, dropped rows).
fn surprises(remarks: &[String]) -> Vec<&String> {
    remarks.iter().filter(|remark| remark.contains("the catalogue says")).collect()
}

#[test]
fn pairs_have_the_counts_of_the_readme() {
    let Some(source) = real_data() else { return };
    use Split::{Dev, Test, Train};
    let expected = [
        ("lcqmc", Dev, 8802),
        ("lcqmc", Test, 12_500),
        ("atec", Train, 51_868),
        ("atec", Dev, 20_000),
        ("atec", Test, 20_000),
        ("bq", Train, 9_813),
        ("bq", Dev, 10_000),
        ("bq", Test, 10_000),
        ("pawsx", Dev, 2000 - 16),
        ("pawsx", Test, 2000 - 25),
        ("stsb_zh", Train, 5_231),
        ("stsb_zh", Dev, 1_458),
        ("stsb_zh", Test, 1_361),
        ("sts12", Test, 3_108),
        ("sts13", Test, 1_500),
        ("sts14", Test, 3_750),
        ("sts15", Test, 3_000),
        ("sts16", Test, 1_186),
        ("stsb", Train, 5_749),
        ("stsb", Dev, 1_500),
        ("stsb", Test, 1_379),
        ("sickr", Train, 4_500),
        ("sickr", Dev, 500),
        ("sickr", Test, 4_927),
    ];
    for (name, split, rows) in expected {
        let set = load_pairs(&source, name, split).unwrap();
        assert_eq!(set.pairs().len(), rows, "{name}/{split}");
        assert!(surprises(&set.remarks).is_empty(), "{name}/{split}: {:?}", set.remarks);
        assert!(set.files.iter().all(|file| !file.path.starts_with('/') && file.sha256.len() == 64));
        let covered: usize = set.by_subset().map(|(_, pairs)| pairs.len()).sum();
        assert_eq!(covered, rows, "subsets of {name}/{split}");
    }
}

#[test]
fn positives_have_the_shares_of_the_readme() {
    let Some(source) = real_data() else { return };
    let share = |name: &str| {
        let set = load_pairs(&source, name, Split::Test).unwrap();
        let positive = set.pairs().iter().filter(|pair| pair.score == 1.0).count();
        (100.0 * positive as f64 / set.pairs().len() as f64).round()
    };
    assert_eq!((share("atec"), share("bq"), share("lcqmc")), (18.0, 50.0, 50.0));
}

#[test]
fn other_kinds_have_the_counts_of_the_readme() {
    let Some(source) = real_data() else { return };
    let sentences = |name: &str| load_sentences(&source, name, Split::Train).unwrap();
    assert_eq!(sentences("oppo").rows.len(), 2 * 50_000);
    let wiki = sentences("wiki1m");
    assert_eq!(wiki.rows.len(), 11_914);
    assert!(wiki.remarks.iter().any(|remark| remark.starts_with("partial: ")), "{:?}", wiki.remarks);
    let unsup = sentences("stsb_zh_unsup").rows;
    assert_eq!((unsup.len(), unsup.iter().collect::<BTreeSet<_>>().len()), (10_462, 9_424));

    let nli = |split| load_nli(&source, "ocnli", split).unwrap();
    for (split, rows) in [(Split::Train, 10_000), (Split::Dev, 3_000)] {
        let text = nli(split);
        let dropped: usize = text
            .remarks
            .iter()
            .filter_map(|remark| {
                remark.split_once(": ")?.1.strip_suffix(" rows without a gold label dropped")
            })
            .map(|count| count.parse::<usize>().unwrap())
            .sum();
        assert_eq!(text.rows.len() + dropped, rows, "{:?}", text.remarks);
        assert!(dropped > 0);
    }

    let triplets = |name: &str| load_triplets(&source, name, Split::Train).unwrap();
    let zh = triplets("zh_triplets");
    let by_file: Vec<usize> = zh.files.iter().map(|file| file.rows).collect();
    assert_eq!((zh.rows.len(), by_file), (16_878, vec![7_784, 5_331, 3_763]));
    assert_eq!(triplets("en_snli_triplets").rows.len(), 5_882);
    let head = triplets("nli_for_simcse");
    assert_eq!(head.rows.len(), 9);
    assert!(head.remarks.iter().any(|remark| remark.starts_with("partial: ")), "{:?}", head.remarks);
    assert!(head.rows.iter().all(|triplet| triplet.hard_negative.is_some()));
}

#[test]
fn atec_train_has_the_unique_sentences_of_the_readme_and_is_called_partial() {
    let Some(source) = real_data() else { return };
    let set = load_sentences(&source, "atec", Split::Train).unwrap();
    assert_eq!(set.rows.iter().collect::<BTreeSet<_>>().len(), 101_793);
    assert!(
        set.remarks.iter().any(|remark| remark.starts_with("partial: 51,868 of 62,477")),
        "{:?}",
        set.remarks
    );
}

#[test]
fn stsb_zh_train_shares_ten_pairs_with_test() {
    let Some(source) = real_data() else { return };
    let pairs = |split| -> BTreeSet<(String, String)> {
        let set = load_pairs(&source, "stsb_zh", split).unwrap();
        set.rows.into_iter().map(|pair| (pair.first, pair.second)).collect()
    };
    assert_eq!(pairs(Split::Train).intersection(&pairs(Split::Test)).count(), 10);
}

#[test]
fn a_corpus_loses_the_sentences_of_the_test_set() {
    let Some(source) = real_data() else { return };
    let test = [load_pairs(&source, "lcqmc", Split::Test).unwrap()];
    let build = |transductive| {
        let config = CorpusConfig { sources: vec!["lcqmc/dev".to_owned()], transductive, limit: None };
        Corpus::build(&source, &config, &test, Stream::from_seed(1)).unwrap()
    };
    let (clean, leaky) = (build(false), build(true));
    let shared = clean.report.removed[0].sentences;
    // The README counts 831 by exact text; the key folds width, case and blanks, so it can only find more.
    assert!((831..900).contains(&shared), "{shared}");
    assert_eq!(clean.sentences.len() + shared, leaky.sentences.len());
    assert_eq!(DataManifest::new(&clean, &test).overlaps[0].sentences, 0);
    assert_eq!(DataManifest::new(&leaky, &test).overlaps[0].sentences, shared);
}

#[test]
fn triplets_can_be_built_from_raw_nli() {
    let Some(source) = real_data() else { return };
    let mut pairs = load_nli(&source, "ocnli", Split::Train).unwrap().rows;
    pairs.extend(load_nli(&source, "ocnli", Split::Dev).unwrap().rows);
    let options = TripletOptions { per_premise: Some(1), allow_missing_hard_negative: false };
    let triplets = triplets_from_nli(&pairs, options);
    let anchors: BTreeSet<&str> = triplets.iter().map(|triplet| triplet.anchor.as_str()).collect();
    assert_eq!(anchors.len(), triplets.len(), "one triplet per premise");
    assert!(triplets.len() > 1000, "{}", triplets.len());
}

#[test]
fn absent_splits_are_missing_and_wrong_kinds_are_said() {
    let Some(source) = real_data() else { return };
    let absent = load_pairs(&source, "lcqmc", Split::Train).unwrap_err();
    assert!(matches!(absent, DataError::Missing { .. }), "{absent}");
    let error = load_pairs(&source, "oppo", Split::Train).unwrap_err().to_string();
    assert_eq!(
        error,
        "oppo/train holds unlabelled pairs, not scored pairs; fix: choose another data set or split"
    );
}
