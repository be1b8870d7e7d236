//! Classes whose centres are made of the batch: what is learned, and that a stopped run goes on to the same bits.

use candle_core::{DType, Device, Tensor};
use simcse_losses::BatchCentresConfig;
use simcse_train::BatchSource as _;
use simcse_train::objective::{BatchClasses, LossContext, Objective as _};
use tempfile::tempdir;

use crate::common::{End, Script, Setting, Twelve, bits, network, rising, setting, trainer};

const VIEWS: usize = 3;

fn objective() -> BatchClasses {
    let config = BatchCentresConfig {
        views: VIEWS,
        scale: 10.0,
        margin: 0.1,
        detached_centres: false,
        equal_centres: false,
    };
    BatchClasses::new(config).unwrap()
}

fn run(setting: &Setting, folder: &std::path::Path, end: End) -> (Vec<u32>, Script) {
    let (encoder, mut script) = (network(7, 0.05), Script::new(rising, end));
    let trained = trainer(setting, folder, &script).run(
        &encoder,
        &mut Twelve { views: VIEWS },
        &mut objective(),
        &mut script,
    );
    assert!(trained.is_ok() || script.interrupt.is_raised(), "{}", trained.unwrap_err());
    (bits(&encoder), script)
}

#[test]
fn twelve_sentences_are_told_apart() {
    let mut setting = setting();
    setting.train.steps = 300;
    let (_, script) = run(&setting, tempdir().unwrap().path(), End::Never);
    let accuracy = |step: usize| script.reports[step].diagnostics.unwrap().accuracy.unwrap();
    assert!(accuracy(280) > 0.9 && accuracy(280) > accuracy(0), "{} {}", accuracy(0), accuracy(280));
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    for rows in [None, Some(5)] {
        let mut setting = setting();
        setting.train.gradient_cache_rows = rows;
        let [whole, parts] = [tempdir().unwrap(), tempdir().unwrap()];
        let (encoder, unbroken) = run(&setting, whole.path(), End::Never);
        run(&setting, parts.path(), End::Interrupt(6));
        let (again, rest) = run(&setting, parts.path(), End::Never);
        assert!(encoder == again, "rows {rows:?}");
        assert_eq!(rest.trace(), unbroken.trace()[6..]);
    }
}

/// Pieces of 5 rows part the views of a sentence.
#[test]
fn a_gradient_cache_changes_nothing_but_the_order_of_sums() {
    let losses = |rows| -> Vec<f64> {
        let mut setting = setting();
        setting.train.gradient_cache_rows = rows;
        let (_, script) = run(&setting, tempdir().unwrap().path(), End::Never);
        script.reports.iter().map(|report| report.loss).collect()
    };
    let (whole, pieces) = (losses(None), losses(Some(5)));
    assert!(whole.iter().zip(&pieces).all(|(a, b)| (a - b).abs() < 1e-3), "{whole:?} {pieces:?}");
}

#[test]
fn another_number_of_views_equal_texts_and_labels_are_refused() {
    let rows = |rows: usize| Tensor::ones((rows, 12), DType::F32, &Device::Cpu).unwrap();
    let error = |batch: &simcse_train::StepBatch| {
        objective().loss(&rows(batch.tokens.rows()), batch, LossContext::LOOK).unwrap_err().to_string()
    };
    let two = error(&Twelve { views: 2 }.batch(0).unwrap());
    assert!(two.contains("2 views of a sentence where the loss has 3; fix: "), "{two}");
    let good = Twelve { views: VIEWS }.batch(0).unwrap();
    let mut equal = good.clone();
    equal.groups[1] = equal.groups[0];
    let gold = simcse_train::StepBatch { gold: vec![1.0; good.sentences], ..good };
    for batch in [equal, gold] {
        assert!(error(&batch).contains("different sentences without labels; fix: "));
    }
}
