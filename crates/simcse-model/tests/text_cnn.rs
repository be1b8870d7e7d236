//! TextCNN against PyTorch, and what every encoder must keep: gradients everywhere, dropout in training
//! only, no view of neighbours, an exact round trip through a directory.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use candle_core::{Device, Tensor};
use serde_json::Value;
use simcse_data::{TokenBatch, TokenUnit, Vocabulary, VocabularyConfig};
use simcse_model::{DropoutStream, Mode, SavedEncoder, SentenceEncoder, TextCnn, TextCnnConfig};
use simcse_random::Stream;

fn config(dropout: f64) -> TextCnnConfig {
    TextCnnConfig {
        embedding_size: 5,
        widths: vec![1, 2, 3, 4],
        maps: 3,
        embedding_dropout: dropout,
        output_dropout: dropout,
        projection_size: None,
    }
}

fn batch() -> TokenBatch {
    TokenBatch::from_sequences(&[vec![1, 2, 3], vec![4], vec![5, 6, 7, 8, 9, 1, 2]]).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A tensor of the golden file; PyTorch's `Conv1d.weight` `[M, E, w]` becomes our `[w, M, E]`.
fn golden_tensor(value: &Value, name: &str) -> Tensor {
    let shape: Vec<usize> = serde_json::from_value(value["shape"].clone()).unwrap();
    let values: Vec<f32> = serde_json::from_value(value["values"].clone()).unwrap();
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    let is_filter = name.starts_with("convolutions") && name.ends_with("weight");
    if is_filter { tensor.permute((2, 0, 1)).unwrap().contiguous().unwrap() } else { tensor }
}

fn assert_near(got: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    for (index, (got, want)) in values(got).iter().zip(values(want)).enumerate() {
        assert!(
            (got - want).abs() < 1e-5 * want.abs().max(1.0),
            "{what}[{index}]: {got}, PyTorch has {want}"
        );
    }
}

/// Output and every gradient, from `golden/make_text_cnn.py`.
#[test]
fn equals_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("golden/text_cnn.json")).unwrap();
    let sentences: Vec<Vec<u32>> = serde_json::from_value(golden["sentences"].clone()).unwrap();
    let encoder =
        TextCnn::from_tensors(config(0.0), |name| Ok(golden_tensor(&golden["parameters"][name], name)))
            .unwrap();
    let output = encoder.forward(&TokenBatch::from_sequences(&sentences).unwrap(), Mode::Evaluate).unwrap();
    assert_near(&output, &golden_tensor(&golden["output"], "output"), "output");
    let weights = golden_tensor(&golden["output_weights"], "output_weights");
    let loss = (output * weights).unwrap().sum_all().unwrap();
    let gradients = simcse_ops::gradients::backward(&loss).unwrap();
    assert_eq!(encoder.parameters().iter().len(), 9);
    for (name, variable) in encoder.parameters().iter() {
        assert_near(
            &gradients.whole(variable).unwrap().unwrap(),
            &golden_tensor(&golden["gradients"][name], name),
            name,
        );
    }
}

#[test]
fn every_parameter_gets_a_gradient_that_is_not_zero() {
    let config = TextCnnConfig { projection_size: Some(6), ..config(0.1) };
    let encoder = TextCnn::new(config, 10, Stream::from_seed(3)).unwrap();
    let mode = Mode::Train(DropoutStream::new(Stream::from_seed(1), 0));
    let output = encoder.forward(&batch(), mode).unwrap();
    assert_eq!(output.dims(), [3, 6]);
    let loss = output.sqr().unwrap().sum_all().unwrap();
    let gradients = simcse_ops::gradients::backward(&loss).unwrap();
    for (name, variable) in encoder.parameters().iter() {
        let gradient = gradients.whole(variable).unwrap().unwrap_or_else(|| panic!("no gradient for {name}"));
        assert!(values(&gradient).iter().any(|value| *value != 0.0), "the gradient of {name} is 0");
    }
}

#[test]
fn views_differ_in_training_and_are_equal_in_evaluation() {
    let encoder = TextCnn::new(config(0.3), 10, Stream::from_seed(3)).unwrap();
    let twice = batch().with_views(2).unwrap();
    let halves = |mode| {
        let output = values(&encoder.forward(&twice, mode).unwrap());
        (output[..output.len() / 2].to_vec(), output[output.len() / 2..].to_vec())
    };
    let step = |step| Mode::Train(DropoutStream::new(Stream::from_seed(1), step));
    let (first, second) = halves(step(0));
    assert_ne!(first, second, "two views of a sentence must differ");
    assert_eq!(halves(step(0)).0, first, "a step must be repeatable");
    assert_ne!(halves(step(1)).0, first, "another step must draw other masks");
    let (first, second) = halves(Mode::Evaluate);
    for (a, b) in first.iter().zip(&second) {
        assert!((a - b).abs() < 1e-6, "evaluation must not depend on the view: {a} and {b}");
    }
}

/// A gradient cache computes a batch in pieces: each sentence must see the masks of the whole batch.
#[test]
fn a_slice_of_a_batch_sees_the_same_masks() {
    let encoder = TextCnn::new(config(0.3), 10, Stream::from_seed(3)).unwrap();
    let mode = Mode::Train(DropoutStream::new(Stream::from_seed(1), 5));
    let twice = batch().with_views(2).unwrap();
    let whole = encoder.forward(&twice, mode).unwrap().narrow(0, 2, 3).unwrap();
    let piece = encoder.forward(&twice.slice(2..5).unwrap(), mode).unwrap();
    for (a, b) in values(&whole).iter().zip(values(&piece)) {
        assert!((a - b).abs() < 1e-6, "{a} in the whole batch, {b} in its slice");
    }
}

fn saved() -> SavedEncoder {
    let vocabulary = VocabularyConfig {
        unit: TokenUnit::Characters,
        lower_case: true,
        nfkc: true,
        min_count: 1,
        max_size: None,
    };
    let vocabulary = Vocabulary::build(["花呗怎么还款", "怎么开通花呗"], vocabulary).unwrap();
    let size = simcse_data::SentenceTokenizer::vocabulary_size(&vocabulary);
    let encoder = TextCnn::new(config(0.1), size, Stream::from_seed(2)).unwrap();
    SavedEncoder::new(encoder, vocabulary, 16)
}

#[test]
fn a_directory_gives_the_same_embeddings_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let before = saved();
    before.save(folder.path()).unwrap();
    let after = SavedEncoder::load(folder.path()).unwrap();
    let sentences = ["花呗怎么还款", "", "开通", "怎么开通花呗怎么开通花呗怎么开通花呗"];
    let embedded = before.embed(&sentences).unwrap();
    assert_eq!(embedded, after.embed(&sentences).unwrap());
    assert_eq!(embedded.truncated, 1);
}

#[test]
fn a_broken_directory_is_named_with_its_mend() {
    let message = |spoil: &dyn Fn(&std::path::Path)| {
        let folder = tempfile::tempdir().unwrap();
        saved().save(folder.path()).unwrap();
        spoil(folder.path());
        SavedEncoder::load(folder.path()).unwrap_err().to_string()
    };
    let cut = message(&|folder| {
        let weights = folder.join("model.safetensors");
        let bytes = std::fs::read(&weights).unwrap();
        std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(cut.contains("model.safetensors") && cut.contains("fix:"), "{cut}");
    let missing = message(&|folder| std::fs::remove_file(folder.join("config.json")).unwrap());
    assert!(missing.contains("config.json") && missing.contains("fix:"), "{missing}");
    let unknown = message(&|folder| {
        let config = folder.join("config.json");
        let text = std::fs::read_to_string(&config).unwrap().replace("\"maps\"", "\"mapps\"");
        std::fs::write(&config, text).unwrap();
    });
    assert!(unknown.contains("mapps"), "{unknown}");
}

#[test]
fn a_value_out_of_range_names_its_key() {
    let wrong = [
        (TextCnnConfig { maps: 0, ..config(0.1) }, "maps"),
        (TextCnnConfig { widths: vec![3, 3], ..config(0.1) }, "widths"),
        (TextCnnConfig { widths: vec![], ..config(0.1) }, "widths"),
        (TextCnnConfig { output_dropout: 1.0, ..config(0.1) }, "output_dropout"),
        (TextCnnConfig { embedding_size: 0, ..config(0.1) }, "embedding_size"),
    ];
    for (config, key) in wrong {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn a_whitening_is_saved_with_its_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = saved();
    let sentences = ["花呗怎么还款", "怎么开通花呗", "开通", "还款", "花呗花呗", "怎么"];
    let plain = before.embed(&sentences).unwrap();
    before.save(folder.path()).unwrap();
    let config = || std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    assert!(!config().contains("whitening"), "a directory without one must read as before");
    before.fit_whitening(&sentences, Some(3)).unwrap();
    before.save(folder.path()).unwrap();
    let after = SavedEncoder::load(folder.path()).unwrap();
    let whitened = after.embed(&sentences).unwrap();
    assert_eq!(before.embed(&sentences).unwrap(), whitened);
    assert_eq!((before.embedding_size(), after.embedding_size()), (3, 3));
    assert_eq!(whitened.embeddings, after.whitening.as_ref().unwrap().apply(&plain.embeddings));
    std::fs::remove_file(folder.path().join("whitening.safetensors")).unwrap();
    let error = SavedEncoder::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("whitening.safetensors") && error.contains("fix:"), "{error}");
}

#[test]
fn a_copy_has_parameters_of_its_own() {
    let encoder = TextCnn::new(config(0.3), 10, Stream::from_seed(3)).unwrap();
    let copy = encoder.copy().unwrap();
    let forward = |encoder: &dyn SentenceEncoder| values(&encoder.forward(&batch(), Mode::Evaluate).unwrap());
    let before = forward(&encoder);
    assert_eq!(before, forward(copy.as_ref()));
    encoder.set_embedding(&Tensor::ones((10, 5), candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap();
    assert_ne!(before, forward(&encoder));
    assert_eq!(before, forward(copy.as_ref()), "training the one must leave the other");
}
