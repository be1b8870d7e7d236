//! Pretrained tokenizers against `transformers`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails may panic, one left out says so"
)]

use simcse_data::{PretrainedTokenizer, SentenceTokenizer, TokenBatch, TokenMasker};
use simcse_random::Stream;
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
fn a_word_is_spelled_with_pieces_that_continue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.txt");
    let vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##a", "##b", "ab", "##bab", "ac", "b"];
    std::fs::write(&path, vocabulary.join("\n")).unwrap();
    let tokenizer = PretrainedTokenizer::from_vocab_file(&path, true).unwrap();
    let pieces: Vec<(u32, Vec<u32>)> = tokenizer.character_pieces().into_iter().collect();
    assert_eq!(
        pieces,
        [(7, vec![4, 6]), (8, vec![6, 5, 6])],
        "ab = a ##b, ##bab = ##b ##a ##b, ac lacks ##c"
    );
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
    let pieces = tokenizer.character_pieces();
    let text = |ids: &[u32]| ids.iter().filter_map(|id| tokenizer.token(*id)).collect::<String>();
    assert_eq!(text(&pieces[&4_763]), "怎么");
    assert!(pieces.iter().all(|(token, characters)| text(characters) == text(&[*token])));
    assert!(!pieces.contains_key(&39_513), "<mask> is one sign");
}

/// Sentences of our own: Chinese, mixed with Latin, accents, full-width digits, blanks of several kinds.
const SENTENCES: [&str; 5] = [
    "我想把信用卡的额度提高一点，可以吗？",
    "今天Beijing的天气很好，WiFi信号也不错。",
    "The Quick brown fox doesn't jump over naïve résumés!",
    "３月１４日 π≈3.14159",
    "多个  空格\u{3000}和\t制表符",
];

fn assert_ids(model: &str, expected: [&[u32]; 5]) {
    let Some(models) = models() else { return };
    let tokenizer = PretrainedTokenizer::from_folder(&models.join(model)).unwrap();
    for (sentence, ids) in SENTENCES.iter().zip(expected) {
        assert_eq!(tokenizer.encode(sentence, 64).ids, ids, "{sentence}");
    }
}

/// transformers 4.46.3 (the tokenizer written in Python): `do_lower_case` is true, for the folder has no
/// `tokenizer_config.json`.
/// ```python
/// t = BertTokenizer.from_pretrained(models + "albert-tiny-zh"); t(sentence)["input_ids"]
/// ```
#[test]
fn a_folder_with_a_vocabulary_only_is_lower_cased() {
    let expected: [&[u32]; 5] = [
        &[
            101, 2769, 2682, 2828, 928, 4500, 1305, 4638, 7583, 2428, 2990, 7770, 671, 4157, 8024, 1377, 809,
            1408, 8043, 102,
        ],
        &[
            101, 791, 1921, 8815, 8169, 12128, 4638, 1921, 3698, 2523, 1962, 8024, 8306, 928, 1384, 738, 679,
            7231, 511, 102,
        ],
        &[
            101, 8174, 12345, 10699, 10872, 8895, 8333, 8171, 112, 162, 10331, 10047, 11469, 8857, 8847,
            11442, 13060, 106, 102,
        ],
        &[101, 8031, 3299, 12164, 3189, 223, 13542, 8152, 119, 9554, 9632, 102],
        &[101, 1914, 702, 4958, 3419, 1469, 1169, 6134, 5016, 102],
    ];
    assert_ids("albert-tiny-zh", expected);
}

/// As above with `bert-tiny-zh`, whose `tokenizer_config.json` says `"do_lower_case": false`.
#[test]
fn a_folder_whose_configuration_keeps_capitals_keeps_them() {
    let expected: [&[u32]; 5] = [
        &[
            101, 2769, 2682, 2828, 928, 4500, 1305, 4638, 7583, 2428, 2990, 7770, 671, 4157, 8024, 1377, 809,
            1408, 8043, 102,
        ],
        &[101, 791, 1921, 100, 4638, 1921, 3698, 2523, 1962, 8024, 100, 928, 1384, 738, 679, 7231, 511, 102],
        &[101, 100, 100, 10699, 10872, 8895, 8333, 8171, 112, 162, 10331, 10047, 100, 100, 106, 102],
        &[101, 8031, 3299, 12164, 3189, 223, 13542, 8152, 119, 9554, 9632, 102],
        &[101, 1914, 702, 4958, 3419, 1469, 1169, 6134, 5016, 102],
    ];
    assert_ids("bert-tiny-zh", expected);
}

/// transformers 4.46.3: `PreTrainedTokenizerFast.from_pretrained(models + "multilingual-e5-small-zh-en")`; its
/// `<s>`, `<pad>`, `</s>`, `<unk>` are 0, 1, 2, 3, as in every XLM-RoBERTa.
#[test]
fn a_folder_with_a_tokenizer_file_uses_it() {
    let expected: [&[u32]; 5] = [
        &[0, 6, 7775, 1283, 19958, 41, 7611, 1405, 3671, 6455, 4, 872, 3862, 31, 2],
        &[0, 15064, 3032, 14, 19631, 41, 16563, 9185, 4, 10533, 2819, 22613, 576, 16153, 29, 2],
        &[0, 410, 19250, 23389, 6, 26801, 7406, 25, 18, 19130, 449, 24, 3, 216, 994, 3, 4680, 3, 7, 36, 2],
        &[0, 117, 441, 1391, 445, 6, 3, 20376, 434, 26593, 2],
        &[0, 6, 10943, 6, 2696, 2878, 6, 209, 6, 2972, 2711, 13834, 2],
    ];
    assert_ids("multilingual-e5-small-zh-en", expected);
    let Some(models) = models() else { return };
    let tokenizer = PretrainedTokenizer::from_folder(&models.join("multilingual-e5-small-zh-en")).unwrap();
    assert_eq!((tokenizer.pad_id(), tokenizer.unknown_id(), tokenizer.special_ids()), (1, 3, &[0, 2][..]));
}

#[test]
fn a_tokenizer_file_comes_before_a_vocabulary() {
    let (folder, cased) = small(false);
    let lower = || PretrainedTokenizer::from_folder(folder.path()).unwrap().encode("Hello", 8).ids;
    assert_eq!(lower(), [2, 16, 3]);
    cased.save(&folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(lower(), [2, 23, 3], "tokenizer.json keeps capitals");
}

#[test]
fn what_the_configuration_says_of_accents_is_followed() {
    let (folder, _) = small(true);
    let config = folder.path().join("tokenizer_config.json");
    std::fs::write(&config, r#"{"strip_accents": false, "model_max_length": 512}"#).unwrap();
    let tokenizer = PretrainedTokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("Café", 8).ids, [2, 21, 22, 3], "lowered, accent kept");
    std::fs::write(&config, "{").unwrap();
    let error = PretrainedTokenizer::from_folder(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json: EOF"), "{error}");
    let error = PretrainedTokenizer::from_folder(&folder.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("neither tokenizer.json nor vocab.txt"), "{error}");
}

#[test]
fn the_masker_of_a_tokenizer_leaves_special_and_unknown_tokens_alone() {
    let (_folder, tokenizer) = small(true);
    let sentence = tokenizer.encode("花 hellohello [MASK] 呗", 8).ids;
    assert_eq!(sentence, [2, 5, 1, 4, 6, 3]);
    let batch = TokenBatch::from_sequences(&[sentence]).unwrap();
    let masker = TokenMasker::for_tokenizer(1.0, &tokenizer).unwrap();
    let masked = masker.mask(&batch, Stream::from_seed(0)).unwrap();
    assert_eq!((masked.positions, masked.targets), (vec![1, 4], vec![5, 6]));
}
