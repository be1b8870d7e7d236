//! Loading by name and by path, corpora and bad input, over small folders made on the spot.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use simcse_data::{
    Corpus, CorpusConfig, DataError, DataManifest, DataSource, HubOptions, Origin, PairSet, SourceName,
    Split, load_nli, load_pairs, load_sentences, load_triplets,
};
use simcse_random::Stream;
use std::path::PathBuf;
use tempfile::TempDir;

/// A data folder with these files and no other place to look.
fn data(files: &[(&str, &[u8])]) -> (TempDir, DataSource) {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in files {
        simcse_data::write_whole(&folder.path().join(name), contents).unwrap();
    }
    let nowhere = PathBuf::from("nowhere");
    let hub = HubOptions { offline: true, cache_dir: nowhere.clone(), ..HubOptions::from_env() };
    let given = Some(folder.path().to_path_buf());
    let source = DataSource::with_places(given, nowhere.clone(), nowhere, hub).unwrap();
    (folder, source)
}

fn corpus(source: &DataSource, sources: &[&str], test_sets: &[PairSet], limit: Option<usize>) -> Corpus {
    let sources = sources.iter().map(|name| (*name).to_owned()).collect();
    let config = CorpusConfig { sources, transductive: false, limit };
    Corpus::build(source, &config, test_sets, Stream::from_seed(7)).unwrap()
}

#[test]
fn counts_that_differ_from_the_catalogue_are_said() {
    let (_folder, source) = data(&[("LCQMC/dev.txt", "甲\t乙\t1\n".as_bytes())]);
    let set = load_pairs(&source, "lcqmc", Split::Dev).unwrap();
    assert_eq!(set.remarks, ["1 rows, the catalogue says 8802"]);
    assert_eq!((set.files[0].path.as_str(), set.files[0].rows), ("LCQMC/dev.txt", 1));
    assert_eq!(set.origin, Origin::DataDir);
}

#[test]
fn repeats_conflicts_and_empty_sentences_are_remarked_and_kept() {
    let (_folder, source) = data(&[("own.tsv", "a\tb\t1\nA \tb\t0\na\tb\t1\nc\t \t1\n".as_bytes())]);
    let set = load_pairs(&source, "own.tsv", Split::Test).unwrap();
    assert_eq!(set.pairs().len(), 4);
    assert_eq!(
        set.remarks,
        [
            "2 rows repeat a pair that stood before (kept)",
            "1 pairs stand several times with different scores (kept)",
            "1 pairs have an empty sentence (kept)",
        ]
    );
}

#[test]
fn own_files_are_read_by_extension_or_content() {
    let nli = br#"{"sentence1":"a","sentence2":"b","label":"neutral"}"#;
    let (_folder, source) = data(&[
        ("sentences.txt", b"one\ntwo\n"),
        ("pairs.txt", b"a\tb\t0.5\n"),
        ("bars.data", b"1||a||b||4\n"),
        ("triplets.csv", b"sent0,sent1,hard_neg\na,b,c\n"),
        ("nli.jsonl", nli),
    ]);
    assert_eq!(load_sentences(&source, "sentences.txt", Split::Train).unwrap().rows, ["one", "two"]);
    assert_eq!(load_pairs(&source, "pairs.txt", Split::Test).unwrap().pairs()[0].score, 0.5);
    assert_eq!(load_pairs(&source, "bars.data", Split::Test).unwrap().pairs()[0].score, 4.0);
    assert_eq!(load_triplets(&source, "triplets.csv", Split::Train).unwrap().rows.len(), 1);
    assert_eq!(load_nli(&source, "nli.jsonl", Split::Train).unwrap().rows.len(), 1);
    assert_eq!(load_sentences(&source, "triplets.csv", Split::Train).unwrap().rows, ["a", "b", "c"]);
    let wrong = load_pairs(&source, "triplets.csv", Split::Test).unwrap_err();
    assert!(matches!(wrong, DataError::WrongKind { .. }), "{wrong}");
}

#[test]
fn senteval_subsets_stay_apart() {
    let subsets = ["FNWN", "headlines", "OnWN"];
    let names: Vec<(String, String)> = subsets
        .iter()
        .map(|name| ["input", "gs"].map(|part| format!("SentEval/STS/STS13-en-test/STS.{part}.{name}.txt")))
        .map(|[input, gold]| (input, gold))
        .collect();
    let mut files: Vec<(&str, &[u8])> = Vec::new();
    for (input, gold) in &names {
        files.push((input, b"a\tb\nc\td\n"));
        files.push((gold, b"1\n2.5\n"));
    }
    files[3].1 = b"\n3\n";
    let (_folder, source) = data(&files);
    let set = load_pairs(&source, "sts13", Split::Test).unwrap();
    let sizes: Vec<(&str, usize)> = set.by_subset().map(|(name, pairs)| (name, pairs.len())).collect();
    assert_eq!(sizes, [("FNWN", 2), ("headlines", 1), ("OnWN", 2)]);
    assert_eq!(set.by_subset().nth(1).unwrap().1[0].score, 3.0);
    assert_eq!(set.files.len(), 6);
    assert!(
        set.remarks.contains(&"headlines: 1 pairs without a gold score left out".to_owned()),
        "{:?}",
        set.remarks
    );
}

#[test]
fn a_corpus_keeps_the_first_of_equal_sentences_and_drops_test_text() {
    let (_folder, source) = data(&[
        ("first.txt", "花呗\nＡ? \n花呗\n".as_bytes()),
        ("second.tsv", "a?\t借呗\t1\n测试句\t新的\t0\n".as_bytes()),
        ("test.tsv", "测试句 \t别的\t1\n".as_bytes()),
    ]);
    let test = [load_pairs(&source, "test.tsv", Split::Test).unwrap()];
    let built = corpus(&source, &["first.txt", "second.tsv"], &test, None);
    assert_eq!(built.sentences, ["花呗", "Ａ?", "借呗", "新的"]);
    let counts: Vec<(usize, usize)> =
        built.report.sources.iter().map(|count| (count.sentences, count.new_sentences)).collect();
    assert_eq!(counts, [(3, 2), (4, 3)]);
    assert_eq!((built.report.removed[0].sentences, built.report.unique_sentences), (1, 4));

    let config = CorpusConfig {
        sources: vec!["first.txt".to_owned(), "second.tsv".to_owned()],
        transductive: true,
        limit: None,
    };
    let leaky = Corpus::build(&source, &config, &test, Stream::from_seed(7)).unwrap();
    assert_eq!((leaky.sentences.len(), leaky.report.removed[0].sentences), (5, 1));
    let manifest = DataManifest::new(&leaky, &test);
    assert_eq!((manifest.overlaps[0].sentences, manifest.overlaps[0].of), (1, 2));
    assert!(manifest.corpus.transductive && !manifest.sample);
}

#[test]
fn a_manifest_comes_back_from_json_and_names_no_path_of_the_machine() {
    let (folder, source) = data(&[("first.txt", b"one\ntwo\n"), ("test.tsv", b"two\tthree\t1\n")]);
    let test = [load_pairs(&source, "test.tsv", Split::Test).unwrap()];
    let absolute = folder.path().join("first.txt");
    let manifest = DataManifest::new(&corpus(&source, &[absolute.to_str().unwrap()], &test, None), &test);
    let text = serde_json::to_string_pretty(&manifest).unwrap();
    assert!(!text.contains(folder.path().to_str().unwrap()), "{text}");
    assert_eq!(serde_json::from_str::<DataManifest>(&text).unwrap(), manifest);
}

#[test]
fn a_limit_draws_the_same_sentences_for_the_same_seed() {
    let text: String = (0..100).map(|number| format!("sentence {number}\n")).collect();
    let (_folder, source) = data(&[("many.txt", text.as_bytes())]);
    let whole = corpus(&source, &["many.txt"], &[], None);
    let drawn = corpus(&source, &["many.txt"], &[], Some(20));
    assert_eq!((drawn.sentences.len(), drawn.report.limited_from), (20, Some(100)));
    assert_eq!(drawn, corpus(&source, &["many.txt"], &[], Some(20)));
    let mut rest = whole.sentences.iter();
    assert!(drawn.sentences.iter().all(|sentence| rest.any(|other| other == sentence)), "order is kept");
    assert_ne!(drawn.sentences, whole.sentences[..20]);
    assert_eq!(corpus(&source, &["many.txt"], &[], Some(200)).report.limited_from, None);
}

#[test]
fn nothing_left_to_train_on_is_an_error() {
    let (_folder, source) = data(&[("test.tsv", b"a\tb\t1\n")]);
    let test = [load_pairs(&source, "test.tsv", Split::Test).unwrap()];
    let config = CorpusConfig { sources: vec!["test.tsv".to_owned()], transductive: false, limit: None };
    let error = Corpus::build(&source, &config, &test, Stream::from_seed(7)).unwrap_err().to_string();
    assert!(error.starts_with("corpus.sources: no training sentence is left; fix: "), "{error}");
}

#[test]
fn source_names_are_splits_or_paths() {
    let named = |name: &str, split| SourceName::Named { name: name.to_owned(), split };
    assert_eq!(SourceName::parse("lcqmc/dev").unwrap(), named("lcqmc", Split::Dev));
    assert_eq!(SourceName::parse("sample/train").unwrap(), named("sample", Split::Train));
    assert_eq!(SourceName::parse("lcqmc/dev.txt").unwrap(), SourceName::File("lcqmc/dev.txt".to_owned()));
    let error = |text: &str| SourceName::parse(text).unwrap_err().to_string();
    assert!(error("lcqmc/valid").starts_with("unknown split `valid`; fix: use one of train, dev, test"));
    assert!(error("lcqcm/dev").starts_with("unknown data set `lcqcm`"));
    assert!(error("lcqmc").starts_with("unknown text source `lcqmc`; fix: use one of NAME/SPLIT"));
}

#[test]
fn the_sample_says_that_it_is_one() {
    let (_folder, source) = data(&[]);
    let set = load_pairs(&source, "sample", Split::Dev).unwrap();
    assert_eq!((set.origin, set.files[0].path.as_str()), (Origin::Sample, "sample:dev"));
    assert_eq!(set.remarks[0], "bundled sample, not a real data set");
}

#[test]
fn bad_files_are_one_line_with_file_line_and_mend() {
    let cases: [(&[u8], &str); 4] = [
        (b"\xff\xfe", "LCQMC/dev.txt:1: not valid UTF-8; fix: "),
        (b" \n", "LCQMC/dev.txt: no rows; fix: "),
        (b"a\tb\t1\na\tb\n", "LCQMC/dev.txt:2: 2 columns instead of 3; fix: "),
        (b"a\tb\t3\n", "LCQMC/dev.txt:1: label 3 is outside 0 to 1; fix: "),
    ];
    for (contents, expected) in cases {
        let (_folder, source) = data(&[("LCQMC/dev.txt", contents)]);
        let error = load_pairs(&source, "lcqmc", Split::Dev).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}
