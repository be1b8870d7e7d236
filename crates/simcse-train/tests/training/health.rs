//! Runs that do not learn are stopped, with the reason.

use candle_core::{Device, Result as CandleResult, Tensor};
use simcse_data::TokenBatch;
use simcse_model::{Mode, ParameterSet, SentenceEncoder, TextCnn};
use simcse_train::objective::{LossContext, Objective, StepLoss};
use simcse_train::{Result, StepBatch, TrainError};
use tempfile::tempdir;

use crate::common::{End, Script, bits, network, rising, setting, train, train_with};

/// A TextCNN whose embeddings are changed by `change`; `parameters` may hold more than the network uses.
struct Double {
    network: TextCnn,
    parameters: ParameterSet,
    change: fn(Tensor) -> CandleResult<Tensor>,
}

impl Double {
    fn new(change: fn(Tensor) -> CandleResult<Tensor>) -> Self {
        let network = network(7, 0.2);
        Self { parameters: network.parameters().clone(), network, change }
    }
}

impl SentenceEncoder for Double {
    fn embedding_size(&self) -> usize {
        self.network.embedding_size()
    }

    fn forward(&self, batch: &TokenBatch, mode: Mode) -> CandleResult<Tensor> {
        (self.change)(self.network.forward(batch, mode)?)
    }

    fn parameters(&self) -> &ParameterSet {
        &self.parameters
    }

    fn copy(&self) -> CandleResult<Box<dyn SentenceEncoder>> {
        self.network.copy()
    }
}

/// Any function of the embeddings as a loss, without diagnostics.
struct Loss(fn(&Tensor) -> CandleResult<Tensor>);

impl Objective for Loss {
    fn loss(&self, embeddings: &Tensor, _: &StepBatch, _: LossContext) -> Result<StepLoss> {
        Ok(StepLoss { loss: self.0(embeddings)?, diagnostics: None })
    }
}

/// Step and finding of a run that must be found unhealthy.
fn finding(result: Result<simcse_train::Outcome>) -> (u64, String) {
    match result.unwrap_err() {
        TrainError::Unhealthy { step, finding } => {
            assert!(!finding.contains('\n'), "{finding}");
            (step, finding)
        }
        other => panic!("not unhealthy, but: {other}"),
    }
}

fn train_double(encoder: &dyn SentenceEncoder) -> (u64, String) {
    let folder = tempdir().unwrap();
    finding(train(&setting(), encoder, folder.path(), &mut Script::new(rising, End::Never)))
}

fn train_loss(loss: fn(&Tensor) -> CandleResult<Tensor>) -> (u64, String) {
    let (folder, encoder) = (tempdir().unwrap(), network(7, 0.2));
    let before = bits(&encoder);
    let mut script = Script::new(rising, End::Never);
    let found = finding(train_with(&setting(), &encoder, &mut Loss(loss), folder.path(), &mut script));
    assert!(bits(&encoder) == before, "a step that failed changed parameters");
    found
}

#[test]
fn a_healthy_network_passes() {
    let folder = tempdir().unwrap();
    let unchanged = Double::new(Ok);
    train(&setting(), &unchanged, folder.path(), &mut Script::new(rising, End::Never)).unwrap();
}

#[test]
fn a_parameter_without_gradient_is_named() {
    let mut double = Double::new(Ok);
    double
        .parameters
        .add("spare.weight", &Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap())
        .unwrap();
    let (step, finding) = train_double(&double);
    assert_eq!(step, 1);
    assert!(finding.starts_with("no gradient reached spare.weight: "), "{finding}");
}

#[test]
fn a_cut_graph_names_everything_above_the_cut() {
    let (step, finding) = train_double(&Double::new(|embeddings| Ok(embeddings.detach())));
    assert_eq!(step, 1);
    for (name, _) in network(7, 0.2).parameters().iter() {
        assert!(finding.contains(name), "{name} is missing in: {finding}");
    }
}

#[test]
fn a_loss_that_is_no_number_is_named_at_its_step() {
    let (step, finding) = train_loss(|embeddings| embeddings.sum_all()?.affine(f64::NAN, 0.0));
    assert_eq!(step, 1);
    assert!(finding.starts_with("the loss is NaN: "), "{finding}");
    let (_, finding) = train_loss(|embeddings| embeddings.sum_all()?.affine(0.0, f64::INFINITY));
    assert!(finding.starts_with("the loss is inf: "), "{finding}");
}

/// The loss is 0 and fine; its slope is infinity minus infinity.
#[test]
fn a_gradient_that_is_no_number_names_its_parameter() {
    let (step, finding) = train_loss(|embeddings| (embeddings - embeddings)?.sum_all()?.sqrt());
    assert_eq!(step, 1);
    assert!(finding.starts_with("the gradient of convolutions.0.bias is not finite"), "{finding}");
}

#[test]
fn equal_embeddings_of_all_sentences_are_found() {
    let constant = |embeddings: Tensor| embeddings.mean_keepdim(0)?.broadcast_as(embeddings.shape());
    let (folder, mut setting) = (tempdir().unwrap(), setting());
    setting.train.steps = 110;
    setting.health.identical_views_allowed = true;
    let mut script = Script::new(rising, End::Never);
    let (step, finding) = finding(train(&setting, &Double::new(constant), folder.path(), &mut script));
    assert_eq!(step, 101, "alike from the beginning: an encoder may need some steps to tell sentences apart");
    assert!(finding.starts_with("all embeddings are alike "), "{finding}");
}

#[test]
fn dropout_of_zero_does_not_act() {
    let (step, finding) = train_double(&network(7, 0.0));
    assert_eq!(step, 3);
    assert!(
        finding.contains("dropout does not act") && finding.contains("identical_views_allowed"),
        "{finding}"
    );
}

/// What was seen before a checkpoint counts: the third look is the third, also in the second part of a run.
#[test]
fn a_continued_run_remembers_what_was_seen() {
    let folder = tempdir().unwrap();
    let mut script = Script::new(rising, End::Interrupt(2));
    train(&setting(), &network(7, 0.0), folder.path(), &mut script).unwrap_err();
    let mut script = Script::new(rising, End::Never);
    let (step, _) = finding(train(&setting(), &network(7, 0.0), folder.path(), &mut script));
    assert_eq!((script.begun, step), (Some(2), 3));
}

#[test]
fn dropout_of_zero_may_be_meant() {
    let (folder, mut setting) = (tempdir().unwrap(), setting());
    setting.health.identical_views_allowed = true;
    train(&setting, &network(7, 0.0), folder.path(), &mut Script::new(rising, End::Never)).unwrap();
}

/// At temperature 1000 all logits are equal in effect: the loss stays at ln(6).
#[test]
fn a_loss_at_the_chance_level_stops_the_run_in_time() {
    let (folder, mut setting) = (tempdir().unwrap(), setting());
    (setting.temperature, setting.health.chance_level_steps) = (1000.0, 9);
    let encoder = network(7, 0.2);
    let (step, finding) =
        finding(train(&setting, &encoder, folder.path(), &mut Script::new(rising, End::Never)));
    assert_eq!(step, 9);
    assert!(finding.contains("a guess among the candidates gives 1.7918: nothing is learnt"), "{finding}");
    setting.health.chance_level_steps = 0;
    train(&setting, &encoder, tempdir().unwrap().path(), &mut Script::new(rising, End::Never)).unwrap();
}

/// NaN is larger than nothing and nothing is larger than it: it would stay "best" for ever.
#[test]
fn a_dev_score_that_is_no_number_stops_the_run() {
    let folder = tempdir().unwrap();
    let mut script = Script::new(|step| if step == 6 { f64::NAN } else { 0.5 }, End::Never);
    let (step, finding) = finding(train(&setting(), &network(7, 0.2), folder.path(), &mut script));
    assert_eq!(step, 6);
    assert!(finding.starts_with("the dev score is NaN"), "{finding}");
}
