//! Best on dev, early stop, no steps at all, and what the loop reports.

use tempfile::tempdir;

use crate::common::{End, Script, Setting, bits, network, rising, setting, train};

fn run(setting: &Setting, score: fn(u64) -> f64) -> (simcse_train::Outcome, Vec<u32>, Script) {
    let (folder, encoder) = (tempdir().unwrap(), network(7, 0.2));
    let mut script = Script::new(score, End::Never);
    let outcome = train(setting, &encoder, folder.path(), &mut script).unwrap();
    (outcome, bits(&encoder), script)
}

/// The steps at which dev was measured.
fn steps(script: &Script) -> Vec<u64> {
    script.measured.iter().map(|(step, _)| *step).collect()
}

#[test]
fn the_parameters_of_the_best_dev_score_come_back() {
    let (outcome, parameters, script) = run(&setting(), |step| if step == 6 { 0.9 } else { 0.1 });
    assert_eq!((outcome.selected.step, outcome.selected.score, outcome.steps), (6, 0.9, 13));
    assert_eq!(steps(&script), [0, 3, 6, 9, 12, 13], "before the first, every third, after the last");
    let at = |step| &script.measured.iter().find(|(at, _)| *at == step).unwrap().1;
    assert!(&parameters == at(6) && &parameters != at(13), "not the parameters of step 6");
}

#[test]
fn among_equal_scores_the_earliest_wins() {
    let (outcome, parameters, script) = run(&setting(), |_| 0.5);
    assert_eq!(outcome.selected.step, 3);
    assert!(parameters == script.measured[1].1, "not the parameters of step 3");
}

#[test]
fn the_untrained_network_is_measured_but_not_selected() {
    let (outcome, ..) = run(&setting(), |step| -(step as f64));
    assert_eq!((outcome.selected.step, outcome.selected.score), (3, -3.0));
}

#[test]
fn patience_counts_measurements_since_the_best() {
    let mut setting = setting();
    (setting.train.steps, setting.train.early_stop_patience) = (30, 2);
    // Better at 3 and 9: the miss at 6 is forgotten, those at 12 and 15 end the run.
    let (outcome, _, script) = run(&setting, |step| if matches!(step, 3 | 9) { step as f64 } else { 0.0 });
    assert_eq!((outcome.steps, outcome.selected.step), (15, 9));
    assert_eq!(script.reports.last().unwrap().step, 15);
}

#[test]
fn no_steps_measure_the_untrained_network_once() {
    let mut setting = setting();
    (setting.train.steps, setting.train.warmup_steps) = (0, 0);
    let (outcome, parameters, script) = run(&setting, rising);
    assert_eq!((outcome.steps, outcome.selected.step, outcome.seconds), (0, 0, 0.0));
    assert!(parameters == bits(&network(7, 0.2)), "parameters changed");
    assert_eq!((steps(&script), script.reports.len()), (vec![0], 0));
}

#[test]
fn each_step_is_reported_with_its_learning_rate() {
    let (_, _, script) = run(&setting(), rising);
    let rates: Vec<f64> = script.reports.iter().map(|report| report.learning_rate).collect();
    // Warm-up 0, 1/3, 2/3; then from the peak at 10/10 down to 1/10.
    let wanted = (0..3).map(|done| done as f64 / 3.0).chain((1..=10).rev().map(|left| left as f64 / 10.0));
    assert!(
        rates.iter().zip(wanted).all(|(found, wanted)| (found - 1e-2 * wanted).abs() < 1e-12),
        "{rates:?}"
    );
    assert_eq!(rates.len(), 13);
    assert!(script.reports.iter().all(|report| report.gradient_norm > 0.0 && report.diagnostics.is_some()));
}

#[test]
fn the_loss_falls() {
    let mut setting = setting();
    (setting.train.steps, setting.train.learning_rate) = (60, 2e-2);
    let (_, _, script) = run(&setting, rising);
    let mean = |reports: &[simcse_train::run_loop::StepReport]| {
        reports.iter().map(|report| report.loss).sum::<f64>() / reports.len() as f64
    };
    let (first, last) = (mean(&script.reports[..10]), mean(&script.reports[50..]));
    assert!(last < 0.7 * first, "{first} to {last}");
}
