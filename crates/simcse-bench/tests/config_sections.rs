//! Sections that do not go together: one line with file, line, key and mend.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use simcse_bench::config::{RunConfig, TrainingText};

/// A transformer on views of sentences.
const BASE: &str = r#"experiment = "bert-unsup"
name = "small"
label = "small"
group = "headline"
seed = 1

[data]
train = ["a.txt"]
transductive = false
max_tokens = 64

[encoder]
kind = "transformer"
checkpoint = "bert-tiny-zh"
pooling = "cls"
hidden_dropout = 0.1
attention_dropout = 0.1

[augmentation]
crop = 0.0
span_deletion = 0.0
deletion = 0.0
repetition = 0.0
shuffle_window = 0
full_shuffle = 0.0

[loss]
kind = "info_nce"
candidates = "n"
symmetric = false
similarity = "cosine"
temperature = 0.05

[train]
batch_size = 8
steps = 12
learning_rate = 3e-5
schedule = "linear"
warmup_steps = 0
beta1 = 0.9
beta2 = 0.999
epsilon = 1e-8
weight_decay = 0.0
max_gradient_norm = 1.0
evaluate_every = 4
early_stop_patience = 0
checkpoint_every = 5

[health]
identical_views_allowed = false
chance_level_steps = 0

[evaluation]
tasks = ["sample"]
select_on = ["sample"]
select_pairs = 0
"#;

const VOCABULARY: &str =
    "\n[vocabulary]\nunit = \"characters\"\nlower_case = true\nnfkc = true\nmin_count = 1\n";
const MASKED_LANGUAGE: &str = "\n[masked_language]\nweight = 0.1\nrate = 0.15\n";
const QUEUE: &str = "\n[loss.queue]\nsize = 16\nmomentum = 0.99\n";
const WEIGHT: &str = "temperature = 0.05\nhard_negative_weight = 1.0";
const TEMPERATURE: &str = "temperature = 0.05";
const TRAIN: &str = r#"train = ["a.txt"]"#;
const TRIPLETS: &str = r#"triplets = ["a.csv"]"#;
const PAIRS: &str = r#"pairs = ["a.tsv"]"#;
const INFO_NCE: &str = "kind = \"info_nce\"\ncandidates = \"n\"\nsymmetric = false\nsimilarity = \"cosine\"\n\
                        temperature = 0.05";
const COSENT: &str = "kind = \"cosent\"\nscale = 20.0";

/// The base with replacements, and with more text at its end.
fn with(changes: &[(&str, &str)], more: &str) -> String {
    let change = |text: String, (old, new): &(&str, &str)| {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text.replace(old, new)
    };
    changes.iter().fold(BASE.to_owned(), change) + more
}

/// The base with a TextCNN.
fn text_cnn(more: &str) -> String {
    let begin = BASE.find("kind = \"transformer\"").unwrap();
    let end = BASE.find("\n[augmentation]").unwrap();
    let section = "kind = \"text_cnn\"\n[encoder.network]\nembedding_size = 8\nwidths = [1, 2]\nmaps = 4\n\
                   embedding_dropout = 0.1\noutput_dropout = 0.1\n";
    format!("{}{section}{}{more}", &BASE[..begin], &BASE[end..])
}

fn load(text: &str) -> Result<RunConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.toml");
    std::fs::write(&path, text).unwrap();
    let shown = format!("{}/", folder.path().display());
    RunConfig::load(&path, &[]).map_err(|error| error.to_string().replace(&shown, ""))
}

/// Asserts the one line of error: the place of the first line that begins with `at`, and what it says.
fn refused(text: &str, at: &str, key: &str, fix: &str) {
    let error = load(text).expect_err(key);
    let line = 1 + text.lines().position(|line| line.starts_with(at)).unwrap_or_else(|| panic!("no {at}"));
    assert!(error.starts_with(&format!("small.toml:{line}: {key}")), "{error:?} is not at {line}, {key}");
    assert!(error.contains(&format!("; fix: {fix}")), "{error:?} does not mend by {fix:?}");
    assert!(!error.contains('\n') && !error.contains("Some(") && !error.contains("None"), "{error}");
}

#[test]
fn what_goes_together() {
    let kind = |text: &str| load(text).unwrap_or_else(|error| panic!("{error}")).data.text().unwrap().0;
    assert_eq!(kind(BASE), TrainingText::Sentences);
    assert_eq!(kind(&with(&[], MASKED_LANGUAGE)), TrainingText::Sentences);
    assert_eq!(kind(&with(&[], QUEUE)), TrainingText::Sentences);
    assert_eq!(kind(&text_cnn(VOCABULARY)), TrainingText::Sentences);
    assert_eq!(kind(&with(&[(TRAIN, TRIPLETS), (TEMPERATURE, WEIGHT)], "")), TrainingText::Triplets);
    let triplets_and_tokens = with(&[(TRAIN, TRIPLETS), (TEMPERATURE, WEIGHT)], MASKED_LANGUAGE);
    assert_eq!(kind(&triplets_and_tokens), TrainingText::Triplets);
    assert_eq!(kind(&with(&[(TRAIN, PAIRS), (INFO_NCE, COSENT)], "")), TrainingText::Pairs);
}

#[test]
fn exactly_one_kind_of_text() {
    let fix = "give sources under exactly one of data.train, data.triplets and data.pairs";
    refused(&with(&[(TRAIN, "")], ""), "[data]", "data: no training text", fix);
    refused(&with(&[(TRAIN, "train = []")], ""), "train = []", "data: no training text", fix);
    let both = with(&[(TRAIN, &format!("{TRAIN}\n{TRIPLETS}"))], "");
    refused(&both, "triplets", "data.triplets: data.train and data.triplets are given at once", fix);
    let all = with(&[(TRAIN, &format!("{PAIRS}\n{TRAIN}\n{TRIPLETS}"))], "");
    refused(&all, "pairs", "data.pairs: data.train and data.triplets and data.pairs are given at once", fix);
}

#[test]
fn a_vocabulary_is_for_a_text_cnn_and_only_for_it() {
    let fix = "add the section: a TextCNN has no tokenizer of its own";
    refused(&text_cnn(""), "[encoder]", "vocabulary: missing", fix);
    refused(&with(&[], VOCABULARY), "[vocabulary]", "vocabulary: a transformer has", "leave the section out");
}

#[test]
fn hard_negatives_have_a_weight_with_triplets_only() {
    let key = "loss.hard_negative_weight";
    refused(&with(&[(TRAIN, TRIPLETS)], ""), "[loss]", key, "add it for data.triplets");
    refused(&with(&[(TEMPERATURE, WEIGHT)], ""), "hard_negative_weight", key, "take it out");
    let cosent = format!("{COSENT}\nhard_negative_weight = 1.0");
    let text = with(&[(TRAIN, PAIRS), (INFO_NCE, &cosent)], "");
    refused(&text, "hard_negative_weight", key, "correct the key or take it out");
}

#[test]
fn a_queue_is_for_views_only() {
    let text = with(&[(TRAIN, TRIPLETS), (TEMPERATURE, WEIGHT)], QUEUE);
    refused(&text, "[loss.queue]", "loss.queue", "take the section out, or train on data.train");
}

#[test]
fn cosent_is_for_scored_pairs_and_only_for_them() {
    let fix = "use cosent for data.pairs, and info_nce for data.train and data.triplets";
    let place = "kind = \"cosent\"";
    refused(&with(&[(INFO_NCE, COSENT)], ""), place, "loss.kind = \"cosent\" cannot be used", fix);
    refused(&with(&[(TRAIN, TRIPLETS), (INFO_NCE, COSENT)], ""), place, "loss.kind", fix);
    let place = "kind = \"info_nce\"";
    refused(&with(&[(TRAIN, PAIRS)], ""), place, "loss.kind = \"info_nce\" cannot be used", fix);
}

#[test]
fn sentences_are_classes_and_follow_a_teacher_without_labels_only() {
    let of_batch = "kind = \"batch_centres\"\nviews = 2\nscale = 20.0\nmargin = 0.0";
    let of_table = "kind = \"margin_softmax\"\nviews = 2\nmargin_kind = \"none\"\nmargin = 0.0\nscale = 20.0\n\
                    sub_centres = 1\nsampled_share = 1.0\nclass_update = \"lazy\"\ninitial_centres = \"random\"\n\
                    class_learning_rate_factor = 1.0";
    for (loss, place) in [(of_batch, "kind = \"batch_centres\""), (of_table, "kind = \"margin_softmax\"")] {
        load(&with(&[(INFO_NCE, loss)], "")).unwrap();
        let fix = "use info_nce, or unlabelled sentences under data.train";
        refused(&with(&[(TRAIN, TRIPLETS), (INFO_NCE, loss)], ""), place, "loss.kind", fix);
        let fix = "use cosent for data.pairs";
        refused(&with(&[(TRAIN, PAIRS), (INFO_NCE, loss)], ""), place, "loss.kind", fix);
    }
}

#[test]
fn tokens_are_predicted_by_transformers_only() {
    let fix = "leave the section out, or train a transformer";
    let text = text_cnn(&format!("{VOCABULARY}{MASKED_LANGUAGE}"));
    refused(&text, "[masked_language]", "masked_language", fix);
    for (old, new, key) in [
        ("weight = 0.1\n", "weight = 0.0\n", "masked_language.weight = 0.0"),
        ("weight = 0.1\n", "weight = inf\n", "masked_language.weight = inf"),
        ("rate = 0.15\n", "rate = 1.0\n", "masked_language.rate = 1.0"),
        ("rate = 0.15\n", "rate = nan\n", "masked_language.rate = NaN"),
    ] {
        let section = MASKED_LANGUAGE.replace(old, new);
        refused(&with(&[], &section), new.trim(), key, "give a ");
    }
}

#[test]
fn labelled_text_is_not_augmented() {
    let some = ("deletion = 0.0\nrepetition", "deletion = 0.2\nrepetition");
    let fix = "set everything in it to 0, or train on data.train";
    let text = with(&[(TRAIN, TRIPLETS), (TEMPERATURE, WEIGHT), some], "");
    refused(&text, "[augmentation]", "augmentation", fix);
    refused(&with(&[(TRAIN, PAIRS), (INFO_NCE, COSENT), some], ""), "[augmentation]", "augmentation", fix);
    load(&with(&[some], "")).unwrap();
}

#[test]
fn values_of_a_transformer() {
    for (old, new, key) in [
        ("checkpoint = \"bert-tiny-zh\"", "checkpoint = \" \"", "encoder.checkpoint = \" \""),
        ("pooling = \"cls\"", "pooling = \"sum\"", "encoder.pooling: unknown variant `sum`, expected one of"),
        ("pooling = \"cls\"", "pooling = \"cls\"\nlayers = 0", "encoder.layers = 0"),
        ("hidden_dropout = 0.1", "hidden_dropout = 1.0", "encoder.hidden_dropout = 1.0"),
        ("attention_dropout = 0.1", "attention_dropout = -0.1", "encoder.attention_dropout = -0.1"),
        ("max_tokens = 64", "max_tokens = 64\ntrain_max_tokens = 65", "data.train_max_tokens = 65"),
        (
            "pooling = \"cls\"",
            "pooling = \"cls\"\ntoken_weight_smoothing = 0.01",
            "encoder.token_weight_smoothing = 0.01",
        ),
        ("pooling = \"cls\"", "pooling = \"cls\"\nlayer = 6", "encoder.layer: unknown field `layer`"),
    ] {
        refused(&with(&[(old, new)], ""), new.lines().last().unwrap(), key, "");
    }
    let text = with(&[("kind = \"transformer\"", "kind = \"bert\"")], "");
    let error = load(&text).unwrap_err();
    assert!(error.contains("`bert`") && error.contains("`transformer`"), "{error}");
    assert!(!error.contains("checkpoint"), "the keys of a kind that is unknown cannot be judged: {error}");
}
