//! Sentences as classes: what is learned, and that a stopped run goes on to the same bits.

use simcse_losses::{ClassUpdate, InitialCentres, MarginKind, MarginSoftmaxConfig};
use simcse_model::SentenceEncoder as _;
use simcse_random::Stream;
use simcse_train::BatchSource as _;
use simcse_train::class_table::ClassTable;
use simcse_train::objective::{ClassMargin, LossContext, Objective as _};
use tempfile::tempdir;

use crate::common::{End, Script, Setting, Twelve, bits, network, rising, setting, trainer};

const VIEWS: usize = 3;

/// Which classes a step looks at, and how their centres follow.
#[derive(Debug, Clone, Copy)]
struct Classing {
    share: f64,
    update: ClassUpdate,
}

const FULL: Classing = Classing { share: 1.0, update: ClassUpdate::Lazy };
const SAMPLED: Classing = Classing { share: 0.5, update: ClassUpdate::Lazy };
const DENSE: Classing = Classing { share: 0.5, update: ClassUpdate::Dense };
const AVERAGED: Classing = Classing { share: 0.5, update: ClassUpdate::MovingAverage };

fn objective(Classing { share, update }: Classing, setting: &Setting) -> ClassMargin {
    let config = MarginSoftmaxConfig {
        views: VIEWS,
        margin_kind: MarginKind::Cosine,
        margin: 0.2,
        scale: 10.0,
        sub_centres: 1,
        sampled_share: share,
        class_update: update,
        class_momentum: (update == ClassUpdate::MovingAverage).then_some(0.5),
        initial_centres: InitialCentres::Random,
        class_learning_rate_factor: 2.0,
        precision: simcse_ops::linear::Precision::Float32,
        near_duplicates: None,
    };
    let size = network(7, 0.2).embedding_size();
    let table = ClassTable::random(12, 1, size, Stream::from_seed(2)).unwrap();
    ClassMargin::new(config, table, (0..12).collect(), &setting.train, Stream::from_seed(3)).unwrap()
}

fn run(
    classing: Classing,
    setting: &Setting,
    folder: &std::path::Path,
    end: End,
) -> (Vec<u32>, Vec<f32>, Script) {
    let (encoder, mut objective) = (network(7, 0.05), objective(classing, setting));
    let mut script = Script::new(rising, end);
    let trained = trainer(setting, folder, &script).run(
        &encoder,
        &mut Twelve { views: VIEWS },
        &mut objective,
        &mut script,
    );
    assert!(trained.is_ok() || script.interrupt.is_raised(), "{}", trained.unwrap_err());
    let centres = objective.state().unwrap()[0].1.flatten_all().unwrap().to_vec1().unwrap();
    (bits(&encoder), centres, script)
}

#[test]
fn twelve_sentences_are_learnt_by_heart() {
    for classing in [FULL, SAMPLED, DENSE, AVERAGED] {
        let mut setting = setting();
        setting.train.steps = 300;
        let folder = tempdir().unwrap();
        let (_, _, script) = run(classing, &setting, folder.path(), End::Never);
        let accuracy = |step: usize| script.reports[step].diagnostics.unwrap().accuracy.unwrap();
        assert!(accuracy(0) < 0.6 && accuracy(280) > 0.9, "{classing:?}: {} {}", accuracy(0), accuracy(280));
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    for (classing, rows) in [(FULL, None), (SAMPLED, None), (SAMPLED, Some(5)), (AVERAGED, None)] {
        let mut setting = setting();
        setting.train.gradient_cache_rows = rows;
        let [whole, parts] = [tempdir().unwrap(), tempdir().unwrap()];
        let (encoder, centres, unbroken) = run(classing, &setting, whole.path(), End::Never);
        run(classing, &setting, parts.path(), End::Interrupt(6));
        let (encoder_again, centres_again, rest) = run(classing, &setting, parts.path(), End::Never);
        assert_eq!(rest.begun, Some(6), "{classing:?}");
        assert!(encoder == encoder_again && centres == centres_again, "{classing:?}, rows {rows:?}");
        assert_eq!(rest.trace(), unbroken.trace()[6..]);
    }
}

/// The centres are not behind the gradient cache: they must get the same gradient as without.
#[test]
fn a_gradient_cache_changes_nothing_but_the_order_of_sums() {
    let cached = |rows| {
        let mut setting = setting();
        setting.train.gradient_cache_rows = rows;
        let folder = tempdir().unwrap();
        let (_, centres, script) = run(SAMPLED, &setting, folder.path(), End::Never);
        (centres, script.reports.iter().map(|report| report.loss).collect::<Vec<f64>>())
    };
    let ((centres, losses), (centres_cached, losses_cached)) = (cached(None), cached(Some(5)));
    assert!(
        losses.iter().zip(&losses_cached).all(|(a, b)| (a - b).abs() < 1e-3),
        "{losses:?} {losses_cached:?}"
    );
    assert!(centres.iter().zip(&centres_cached).all(|(a, b)| (a - b).abs() < 1e-3));
}

#[test]
fn a_sentence_without_a_class_is_named() {
    let setting = setting();
    let objective = objective(FULL, &setting);
    let mut batch = Twelve { views: VIEWS }.batch(0).unwrap();
    batch.groups[0] = 12;
    let embeddings = candle_core::Tensor::ones((12, 12), candle_core::DType::F32, &candle_core::Device::Cpu);
    let error = objective.loss(&embeddings.unwrap(), &batch, LossContext::LOOK).unwrap_err().to_string();
    assert!(error.contains("has no class; fix: "), "{error}");
}

#[test]
fn another_number_of_views_is_named() {
    let setting = setting();
    let batch = Twelve { views: 2 }.batch(0).unwrap();
    let embeddings = candle_core::Tensor::ones((8, 12), candle_core::DType::F32, &candle_core::Device::Cpu);
    let error = objective(FULL, &setting).loss(&embeddings.unwrap(), &batch, LossContext::LOOK).unwrap_err();
    assert!(error.to_string().contains("2 views of a sentence where the loss has 3; fix: "), "{error}");
}
