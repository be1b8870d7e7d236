//! Masked language modelling beside a contrastive loss.

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use simcse_data::{TokenBatch, TokenMasker};
use simcse_losses::info_nce;
use simcse_model::transformer::{Architecture, HiddenActivation};
use simcse_model::{
    DropoutRates, DropoutStream, Mode, ParameterSet, Pooling, SentenceEncoder, TokenEncoder, Transformer,
    TransformerConfig, TransformerOptions,
};
use simcse_random::Stream;
use simcse_train::auxiliary::Auxiliary;
use simcse_train::masked_language::MaskedLanguage;
use simcse_train::{BatchSource as _, Outcome, Result, StepBatch, TrainError};
use tempfile::tempdir;

use crate::common::{
    End, SameBatch, Script, Setting, bits, info_nce as views, info_nce_config, rising, sentences, setting,
    trainer,
};

/// Ids of the sentences in `common` begin at 2.
const MASK: u32 = 1;
const VOCABULARY: usize = 50;

fn transformer(seed: u64) -> Transformer {
    let config = TransformerConfig {
        architecture: Architecture::Bert,
        vocab_size: VOCABULARY,
        embedding_size: 8,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 12,
        hidden_act: HiddenActivation::Gelu,
        max_position_embeddings: 12,
        type_vocab_size: 1,
        layer_norm_eps: 1e-12,
        pad_token_id: 0,
    };
    let options = TransformerOptions {
        dropout: DropoutRates::new(0.1, 0.1),
        masked_lm: true,
        ..TransformerOptions::evaluation(Pooling::Cls)
    };
    Transformer::new(config, &options, Stream::from_seed(seed)).unwrap()
}

fn masked_language(encoder: &dyn TokenEncoder) -> MaskedLanguage<'_> {
    MaskedLanguage::new(encoder, TokenMasker::new(0.3, Some(MASK), VOCABULARY, &[0]).unwrap(), 0.5).unwrap()
}

fn train(
    setting: &Setting,
    encoder: &dyn SentenceEncoder,
    auxiliary: Option<&dyn Auxiliary>,
    folder: &Path,
    script: &mut Script,
) -> Result<Outcome> {
    let mut trainer = trainer(setting, folder, script);
    trainer.auxiliary = auxiliary;
    trainer.run(encoder, &mut sentences(setting), &mut views(setting, encoder), script)
}

fn run(setting: &Setting) -> (Vec<u32>, Script) {
    let (folder, encoder) = (tempdir().unwrap(), transformer(1));
    let mut script = Script::new(rising, End::Never);
    train(setting, &encoder, Some(&masked_language(&encoder)), folder.path(), &mut script).unwrap();
    (bits(&encoder), script)
}

fn scalar(tensor: &Tensor) -> f64 {
    f64::from(tensor.to_scalar::<f32>().unwrap())
}

/// One backward pass through objective + λ · auxiliary, beside the two that are made in training.
#[test]
fn a_step_follows_the_sum_of_both_losses() {
    let (setting, encoder) = (setting(), transformer(1));
    let stream = Stream::from_seed(setting.seed);
    let batch = sentences(&setting).batch(0).unwrap();
    let mode = Mode::Train(DropoutStream::new(stream, 0));
    let embeddings = encoder.forward(&batch.tokens, mode).unwrap();
    let view = |start| embeddings.narrow(0, start, 6).unwrap();
    let loss = info_nce(&view(0), &view(6), &info_nce_config(&setting), None).unwrap().mean().unwrap();
    let auxiliary = masked_language(&encoder);
    let masked = auxiliary.loss(&batch, 0..6, stream.named("auxiliary"), 0).unwrap().unwrap();
    let sum = (&loss + (&masked * 0.5).unwrap()).unwrap();
    let gradients = simcse_ops::gradients::backward(&sum).unwrap();
    let squares = encoder.parameters().iter().map(|(_, variable)| {
        let gradient =
            gradients.whole(variable).unwrap().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        gradient.into_iter().map(|value| f64::from(value).powi(2)).sum::<f64>()
    });
    let norm = squares.sum::<f64>().sqrt();

    let report = run(&setting).1.reports[0];
    assert_eq!((report.loss, report.auxiliary_loss), (scalar(&loss), Some(scalar(&masked))));
    assert!((report.gradient_norm - norm).abs() < 1e-5 * norm, "{} and {norm}", report.gradient_norm);
}

#[test]
fn pieces_add_up_to_the_whole() {
    let (whole, mut setting) = (run(&setting()).1, setting());
    for rows in [1, 4, 5] {
        setting.train.gradient_cache_rows = Some(rows);
        let pieces = run(&setting).1;
        let (found, wanted) = (pieces.reports[0], whole.reports[0]);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-5 * b;
        assert!(near(found.auxiliary_loss.unwrap(), wanted.auxiliary_loss.unwrap()), "{found:?}");
        assert!(near(found.gradient_norm, wanted.gradient_norm), "{found:?}, wanted {wanted:?}");
    }
}

#[test]
fn the_masked_tokens_are_learnt() {
    let (folder, encoder, mut setting) = (tempdir().unwrap(), transformer(1), setting());
    (setting.train.steps, setting.train.learning_rate) = (150, 2e-2);
    let mut script = Script::new(rising, End::Never);
    let (auxiliary, mut batches) = (masked_language(&encoder), SameBatch(sentences(&setting)));
    let mut trainer = trainer(&setting, folder.path(), &script);
    trainer.auxiliary = Some(&auxiliary);
    trainer.run(&encoder, &mut batches, &mut views(&setting, &encoder), &mut script).unwrap();
    let losses: Vec<f64> = script.reports.iter().map(|report| report.auxiliary_loss.unwrap()).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..10]), mean(&losses[140..]));
    assert!((first - 50.0_f64.ln()).abs() < 0.3 && last < 0.7 * first, "{first} to {last}");
}

#[test]
fn a_run_with_it_continues_to_the_same_bits() {
    let (whole, _) = run(&setting());
    let folder = tempdir().unwrap();
    for (seed, end) in [(1, End::Interrupt(3)), (9, End::Interrupt(8)), (9, End::Never)] {
        let encoder = transformer(seed);
        let (last, mut script) = (matches!(end, End::Never), Script::new(rising, end));
        let auxiliary = masked_language(&encoder);
        let result = train(&setting(), &encoder, Some(&auxiliary), folder.path(), &mut script);
        assert_eq!(result.is_ok(), last);
        assert!(!last || bits(&encoder) == whole, "parameters differ");
    }
}

/// Gives the same logits for every token, so that the loss is ln(50), and notes what it is asked.
struct Asked(Transformer, Mutex<Vec<(TokenBatch, Vec<u32>)>>);

impl SentenceEncoder for Asked {
    fn embedding_size(&self) -> usize {
        self.0.embedding_size()
    }

    fn forward(&self, batch: &TokenBatch, mode: Mode) -> CandleResult<Tensor> {
        self.0.forward(batch, mode)
    }

    fn parameters(&self) -> &ParameterSet {
        self.0.parameters()
    }

    fn copy(&self) -> CandleResult<Box<dyn SentenceEncoder>> {
        self.0.copy()
    }
}

impl TokenEncoder for Asked {
    fn masked_lm_logits(&self, tokens: &TokenBatch, positions: &[u32], _: Mode) -> CandleResult<Tensor> {
        self.1.lock().unwrap().push((tokens.clone(), positions.to_vec()));
        Tensor::zeros((positions.len(), VOCABULARY), DType::F32, &Device::Cpu)
    }
}

#[test]
fn the_anchors_alone_are_masked_and_the_same_in_pieces() {
    let encoder = Asked(transformer(1), Mutex::default());
    let (auxiliary, batch) = (masked_language(&encoder), sentences(&setting()).batch(0).unwrap());
    let asked = |anchors: Range<usize>, step| -> (f64, Vec<(TokenBatch, Vec<u32>)>) {
        let loss = auxiliary.loss(&batch, anchors, Stream::from_seed(5), step).unwrap();
        (loss.map_or(0.0, |loss| scalar(&loss)), std::mem::take(&mut *encoder.1.lock().unwrap()))
    };
    let (loss, whole) = asked(0..6, 0);
    let (masked, positions) = &whole[0];
    assert!((loss - 50.0_f64.ln()).abs() < 1e-5, "{loss}");
    let anchors = batch.tokens.slice(0..6).unwrap();
    assert_eq!((masked.offsets(), masked.view()), (anchors.offsets(), anchors.view()));
    let changed: Vec<u32> = (0..anchors.tokens() as u32)
        .filter(|at| masked.ids()[*at as usize] != anchors.ids()[*at as usize])
        .collect();
    assert!(changed.len() > 1 && changed.iter().all(|at| positions.contains(at)), "{changed:?}");
    assert!(changed.iter().any(|at| masked.ids()[*at as usize] == MASK));

    let pieces = [0..1, 1..4, 4..6].map(|anchors| asked(anchors, 0));
    assert!((pieces.iter().map(|(loss, _)| loss).sum::<f64>() - loss).abs() < 1e-5, "{pieces:?}");
    // A piece without masked tokens is not asked for.
    let all: usize = pieces.iter().flat_map(|(_, asked)| asked).map(|(_, positions)| positions.len()).sum();
    assert_eq!(all, positions.len());
    for (tokens, _) in pieces.iter().flat_map(|(_, asked)| asked) {
        let first = masked.sentence().iter().position(|sentence| *sentence == tokens.sentence()[0]).unwrap();
        assert_eq!(*tokens, masked.slice(first..first + tokens.rows()).unwrap());
    }
    assert_ne!(asked(0..6, 1).1[0].1, *positions, "each step has its own");
}

struct NotANumber;

impl Auxiliary for NotANumber {
    fn loss(&self, _: &StepBatch, _: Range<usize>, _: Stream, _: u64) -> Result<Option<Tensor>> {
        Ok(Some(Tensor::new(f32::NAN, &Device::Cpu)?))
    }

    fn weight(&self) -> f64 {
        1.0
    }
}

#[test]
fn what_goes_wrong_is_named() {
    let (folder, encoder) = (tempdir().unwrap(), transformer(1));
    let finding = |auxiliary: Option<&dyn Auxiliary>| {
        let mut script = Script::new(rising, End::Never);
        match train(&setting(), &encoder, auxiliary, folder.path(), &mut script).unwrap_err() {
            TrainError::Unhealthy { step: 1, finding } => finding,
            other => panic!("not unhealthy, but: {other}"),
        }
    };
    let line = finding(Some(&NotANumber));
    assert!(line.starts_with("the auxiliary loss is NaN: "), "{line}");
    // A head that nothing trains is a mistake of the configuration.
    let line = finding(None);
    assert!(line.starts_with("no gradient reached ") && line.contains("predictions"), "{line}");
    let masker = TokenMasker::new(0.15, Some(MASK), VOCABULARY, &[]).unwrap();
    let line = MaskedLanguage::new(&encoder, masker, 0.0).err().unwrap().to_string();
    assert!(line.contains("masked_language.weight = 0 ") && line.contains("fix: "), "{line}");
}
