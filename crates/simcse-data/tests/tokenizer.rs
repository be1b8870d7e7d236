//! Pretrained tokenizers against `transformers`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails may panic, one left out says so"
)]

use simcse_data::{PretrainedTokenizer, SentenceTokenizer};
use std::path::PathBuf;
use tempfile::TempDir;

const VOCABULARY: [&str; 24] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "花", "呗", "怎", "么", "还", "款", "?", "！", "un",
    "##aff", "##able", "hello", "14", ",", "##s", "cafe", "caf", "##é", "Hello",
];

fn small(lower_case: bool) -> (TempDir, PretrainedTokenizer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.txt");
    std::fs::write(&path, VOCABULARY.join("\r\n")).unwrap();
    let tokenizer = PretrainedTokenizer::from_vocab_file(&path, lower_case).unwrap();
    (folder, tokenizer)
}

/// transformers 4.46.3 (the tokenizer written in Python, not the library that we use):
/// ```python
/// t = BertTokenizer("vocab.txt", do_lower_case=True)  # False for the second column
/// t(sentence)["input_ids"]; t(sentence, truncation=True, max_length=5)["input_ids"]
/// ```
#[test]
fn wordpiece_agrees_with_transformers() {
    let (_folder, lower) = small(true);
    let (_folder, cased) = small(false);
    let cases: [(&str, &[u32], &[u32]); 7] = [
        ("花呗怎么还款？", &[2, 5, 6, 7, 8, 9, 10, 1, 3], &[2, 5, 6, 7, 8, 9, 10, 1, 3]),
        ("Hello, unaffable  14s", &[2, 16, 18, 13, 14, 15, 17, 19, 3], &[2, 23, 18, 13, 14, 15, 17, 19, 3]),
        ("café 花caféhello", &[2, 20, 5, 1, 3], &[2, 21, 22, 5, 1, 3]),
        ("[MASK]花", &[2, 4, 5, 3], &[2, 4, 5, 3]),
        ("\u{3000} \t", &[2, 3], &[2, 3]),
        ("龘unknownword花", &[2, 1, 1, 5, 3], &[2, 1, 1, 5, 3]),
        ("hellohello", &[2, 1, 3], &[2, 1, 3]),
    ];
    for (sentence, lowered, kept) in cases {
        assert_eq!(lower.encode(sentence, 64).ids, lowered, "{sentence:?} lowered");
        assert_eq!(cased.encode(sentence, 64).ids, kept, "{sentence:?} cased");
    }
    assert_eq!(lower.encode("Hello, unaffable  14s", 5).ids, [2, 16, 18, 13, 3]);
}

#[test]
fn losses_are_counted_and_ids_known() {
    let (_folder, tokenizer) = small(true);
    let tokenized = tokenizer.encode_all(&["花呗怎么还款？", "", "hellohello"], 8);
    assert_eq!((tokenized.truncated, tokenized.unknown_tokens, tokenized.empty), (1, 1, 1));
    assert_eq!(tokenizer.vocabulary_size(), 24);
    assert_eq!((tokenizer.pad_id(), tokenizer.unknown_id(), tokenizer.mask_id()), (0, 1, Some(4)));
    assert_eq!(tokenizer.special_ids(), [2, 3]);
}

#[test]
fn a_saved_tokenizer_loads_as_the_same() {
    let (folder, tokenizer) = small(true);
    let path = folder.path().join("tokenizer.json");
    tokenizer.save(&path).unwrap();
    let loaded = PretrainedTokenizer::from_tokenizer_file(&path).unwrap();
    for sentence in ["Hello, unaffable  14s", "[MASK]花？", ""] {
        assert_eq!(loaded.encode(sentence, 5), tokenizer.encode(sentence, 5));
    }
    assert_eq!(loaded.special_ids(), tokenizer.special_ids());
}

#[test]
fn files_that_are_no_tokenizer_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.txt");
    std::fs::write(&path, "[PAD]\n[UNK]\n[CLS]\n").unwrap();
    let error = PretrainedTokenizer::from_vocab_file(&path, true).unwrap_err().to_string();
    assert!(error.contains("vocab.txt: no token [SEP]; fix: use the vocab.txt"), "{error}");
    let error = PretrainedTokenizer::from_tokenizer_file(&path).unwrap_err().to_string();
    assert!(error.contains("; fix: use the vocab.txt or tokenizer.json"), "{error}");
    assert!(PretrainedTokenizer::from_vocab_file(&folder.path().join("none.txt"), true).is_err());
}

/// The folder of real models; `None` (with a word) where there is none.
fn models() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("SIMCSE_MODEL_DIR") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "SIMCSE_MODEL_DIR must be set in CI");
        eprintln!("left out: needs SIMCSE_MODEL_DIR (see README, Tests)");
        return None;
    };
    Some(folder.into())
}

/// transformers 4.46.3: `BertTokenizer("bert-tiny-zh/vocab.txt", do_lower_case=True)`.
#[test]
fn the_chinese_vocabulary_agrees_with_transformers() {
    let Some(models) = models() else { return };
    let path = models.join("bert-tiny-zh/vocab.txt");
    let tokenizer = PretrainedTokenizer::from_vocab_file(&path, true).unwrap();
    let ids = |sentence| tokenizer.encode(sentence, 64).ids;
    assert_eq!(ids("花呗怎么还款？"), [101, 5709, 1446, 2582, 720, 6820, 3621, 8043, 102]);
    assert_eq!(
        ids("我的iPhone14 Pro坏了，怎么办!"),
        [101, 2769, 4638, 8210, 8717, 8376, 1776, 749, 8024, 2582, 720, 1215, 106, 102]
    );
    assert_eq!(ids("Ｔhe ﬁrst café"), [101, 8070, 9977, 100, 8377, 102]);
    assert_eq!(tokenizer.vocabulary_size(), 21_128);
}

/// transformers 4.46.3: `PreTrainedTokenizerFast(tokenizer_file=…)`, also with `max_length=5`.
#[test]
fn a_unigram_tokenizer_file_agrees_with_transformers() {
    let Some(models) = models() else { return };
    let path = models.join("multilingual-e5-small-zh-en/tokenizer.json");
    let tokenizer = PretrainedTokenizer::from_tokenizer_file(&path).unwrap();
    let ids = |sentence, max_tokens| tokenizer.encode(sentence, max_tokens).ids;
    assert_eq!(ids("花呗怎么还款？", 64), [0, 6, 1397, 36634, 4763, 1633, 3287, 31, 2]);
    assert_eq!(ids("花呗怎么还款？", 5), [0, 6, 1397, 36634, 2]);
    assert_eq!(ids("Ｔhe ﬁrst café", 64), [0, 410, 2419, 290, 312, 3, 2]);
    let frame = (tokenizer.pad_id(), tokenizer.unknown_id(), tokenizer.mask_id());
    assert_eq!((frame, tokenizer.vocabulary_size()), ((1, 3, Some(39_513)), 39_514));
}
