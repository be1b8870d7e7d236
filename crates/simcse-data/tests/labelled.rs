//! Triplets and scored pairs over unique sentences.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails may panic, one left out says so"
)]

use simcse_data::{
    CorpusConfig, DataSource, Example, ExampleCount, ExampleKind, HubOptions, LabelledCorpus, Split,
    load_pairs,
};
use simcse_random::Stream;
use std::path::Path;

/// A source that sees one folder only.
fn source(folder: &Path) -> DataSource {
    let hub = HubOptions { offline: true, cache_dir: folder.join("none"), ..HubOptions::from_env() };
    DataSource::with_places(Some(folder.to_owned()), folder.join("none"), folder.join("none"), hub).unwrap()
}

fn build(folder: &Path, file: &str, kind: ExampleKind, transductive: bool) -> LabelledCorpus {
    let source = source(folder);
    let tests = [load_pairs(&source, "test.tsv", Split::Test).unwrap()];
    let config = CorpusConfig { sources: vec![file.to_owned()], transductive, limit: None };
    LabelledCorpus::build(&source, &config, kind, &tests, Stream::from_seed(1)).unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("test.tsv", "tested\tother\t1\nelse\tmore\t0\n");
    write("triplets.csv", "sent0,sent1,hard_neg\na,b,c\nA ,d,a\ne,e,f\ng,tested,h\nb,a,i\n");
    write("pairs.tsv", "a\tb\t4\nb\tc\t0\ntested\ta\t2\n");
    folder
}

#[test]
fn triplets_share_equal_sentences_and_leave_test_text_out() {
    let folder = folder();
    let corpus = build(folder.path(), "triplets.csv", ExampleKind::Triplets, false);
    assert_eq!(corpus.corpus.sentences, ["a", "b", "c", "d", "i"]);
    let triplet = |anchor, positive, hard_negative| Example::Triplet { anchor, positive, hard_negative };
    // A hard negative equal to its anchor is none.
    assert_eq!(corpus.examples, [triplet(0, 1, Some(2)), triplet(0, 3, None), triplet(1, 0, Some(4))]);
    let count = ExampleCount { read: 5, unusable: 1, in_a_test_set: 1, kept: 3 };
    assert_eq!(corpus.corpus.report.examples, Some(count));
    let transductive = build(folder.path(), "triplets.csv", ExampleKind::Triplets, true);
    assert_eq!(transductive.examples.len(), 4);
}

#[test]
fn pairs_keep_their_scores() {
    let folder = folder();
    let corpus = build(folder.path(), "pairs.tsv", ExampleKind::Pairs, false);
    let pair = |first, second, score| Example::Pair { first, second, score };
    assert_eq!(corpus.examples, [pair(0, 1, 4.0), pair(1, 2, 0.0)]);
}

#[test]
fn a_limit_draws_examples_and_drops_their_sentences() {
    let folder = folder();
    let config = CorpusConfig { sources: vec!["pairs.tsv".into()], transductive: true, limit: Some(2) };
    let corpus =
        LabelledCorpus::build(&source(folder.path()), &config, ExampleKind::Pairs, &[], Stream::from_seed(2))
            .unwrap();
    let of_examples: std::collections::BTreeSet<u32> =
        corpus.examples.iter().flat_map(Example::sentences).collect();
    assert_eq!((corpus.examples.len(), corpus.corpus.sentences.len()), (2, of_examples.len()));
}

#[test]
fn pairs_of_one_score_are_refused() {
    let folder = folder();
    std::fs::write(folder.path().join("alike.tsv"), "a\tb\t1\nb\tc\t1\n").unwrap();
    let config = CorpusConfig { sources: vec!["alike.tsv".into()], transductive: true, limit: None };
    let stream = Stream::from_seed(1);
    let built = LabelledCorpus::build(&source(folder.path()), &config, ExampleKind::Pairs, &[], stream);
    let message = built.unwrap_err().to_string();
    assert!(message.contains("all of 2 pairs") && message.contains("fix: "), "{message}");
}

/// The counts of the README of the data.
#[test]
fn published_triplets_are_read() {
    let Some(folder) = std::env::var_os("SIMCSE_DATA_DIR") else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI needs SIMCSE_DATA_DIR");
        eprintln!("left out: needs SIMCSE_DATA_DIR (see README, Tests)");
        return;
    };
    for (name, rows) in [("zh_triplets/train", 16_878), ("en_snli_triplets/train", 5_882)] {
        let config = CorpusConfig { sources: vec![name.into()], transductive: false, limit: None };
        let source = source(Path::new(&folder));
        let corpus =
            LabelledCorpus::build(&source, &config, ExampleKind::Triplets, &[], Stream::from_seed(1))
                .unwrap();
        let count = corpus.corpus.report.examples.unwrap();
        assert_eq!((count.read, count.kept + count.unusable), (rows, rows), "{name}");
        assert!(count.unusable * 50 < rows, "{name}: {} unusable", count.unusable);
        assert!(
            corpus
                .examples
                .iter()
                .flat_map(Example::sentences)
                .all(|sentence| { (sentence as usize) < corpus.corpus.sentences.len() })
        );
    }
}
