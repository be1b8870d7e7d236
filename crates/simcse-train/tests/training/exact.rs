//! The same seed gives the same bits, also when the run was stopped on its way.

use std::path::Path;
use std::time::Duration;

use simcse_losses::QueueConfig;
use simcse_train::{BatchSource, Outcome, Result, StepBatch, TrainError};
use tempfile::tempdir;

use crate::common::{
    End, Script, Sentences, Setting, bits, info_nce, network, rising, sentences, setting, train, trainer,
};

/// Bits of the parameters at the end, outcome, trace.
type Run = (Vec<u32>, Outcome, Vec<(u64, u64, u64)>);

fn unbroken(setting: &Setting, score: fn(u64) -> f64) -> Run {
    let folder = tempdir().unwrap();
    let (encoder, mut script) = (network(setting.seed, 0.2), Script::new(score, End::Never));
    let outcome = train(setting, &encoder, folder.path(), &mut script).unwrap();
    (bits(&encoder), outcome, script.trace())
}

/// Runs until `end`, then again with a fresh network, as a new process would. Returns the step at which the
/// second part began beside the run that both parts make.
fn in_two_parts(setting: &Setting, score: fn(u64) -> f64, end: End) -> (u64, Run) {
    let folder = tempdir().unwrap();
    let mut first = Script::new(score, end);
    let error = train(setting, &network(setting.seed, 0.2), folder.path(), &mut first).unwrap_err();
    match first.end {
        End::Interrupt(step) => assert!(matches!(error, TrainError::Interrupted { step: at } if at == step)),
        _ => assert_eq!(error.to_string(), "the process died"),
    }
    // Other initial values: whatever the checkpoint does not bring back would show.
    let begun_at_zero = !folder.path().join("checkpoint.safetensors").exists();
    let encoder = network(if begun_at_zero { setting.seed } else { 99 }, 0.2);
    let mut second = Script::new(score, End::Never);
    let outcome = train(setting, &encoder, folder.path(), &mut second).unwrap();
    let begun = second.begun.unwrap();
    let mut trace: Vec<_> = first.trace().into_iter().filter(|(step, ..)| *step <= begun).collect();
    trace.extend(second.trace());
    (begun, (bits(&encoder), outcome, trace))
}

fn assert_same(found: &Run, wanted: &Run) {
    assert_eq!(found.2, wanted.2, "losses or gradients differ");
    assert!(found.0 == wanted.0, "parameters differ");
    assert_eq!((found.1.steps, found.1.selected), (wanted.1.steps, wanted.1.selected));
}

#[test]
fn one_seed_is_one_run_and_another_seed_another() {
    let run = unbroken(&setting(), rising);
    assert_same(&unbroken(&setting(), rising), &run);
    let other = unbroken(&Setting { seed: 8, ..setting() }, rising);
    assert!(other.0 != run.0, "parameters are the same");
    assert_ne!(other.2, run.2);
}

#[test]
fn a_run_continues_to_the_same_bits_wherever_ctrl_c_came() {
    let whole = unbroken(&setting(), rising);
    assert_eq!(whole.1.steps, 13);
    for step in [1, 2, 3, 4, 7, 12, 13] {
        let (begun, parts) = in_two_parts(&setting(), rising, End::Interrupt(step));
        assert_eq!(begun, step);
        assert_same(&parts, &whole);
    }
}

#[test]
fn steps_lost_after_a_checkpoint_are_done_again_to_the_same_bits() {
    let whole = unbroken(&setting(), rising);
    for (died, checkpoint) in [(3, 0), (4, 0), (5, 4), (8, 4), (11, 8), (13, 12)] {
        let (begun, parts) = in_two_parts(&setting(), rising, End::Crash(died));
        assert_eq!(begun, checkpoint, "died in step {died}");
        assert_same(&parts, &whole);
    }
}

/// The queue and the momentum encoder are in the checkpoint; pieces of 5 do not divide 12 rows.
#[test]
fn a_momentum_queue_and_a_gradient_cache_continue_to_the_same_bits() {
    let queued = || Setting { queue: Some(QueueConfig { size: 10, momentum: 0.9 }), ..setting() };
    let mut cached = queued();
    cached.train.gradient_cache_rows = Some(5);
    assert_ne!(unbroken(&queued(), rising).2, unbroken(&setting(), rising).2, "the queue has no effect");
    for setting in [queued(), cached] {
        let whole = unbroken(&setting, rising);
        for end in [End::Interrupt(1), End::Interrupt(2), End::Interrupt(7), End::Crash(3), End::Crash(6)] {
            assert_same(&in_two_parts(&setting, rising, end).1, &whole);
        }
    }
}

/// Best at step 3; then worse, worse: patience 2 ends the run at step 9.
fn falling(step: u64) -> f64 {
    match step {
        3 => 0.5,
        6 => 0.4,
        9 => 0.45,
        _ => 0.1,
    }
}

#[test]
fn a_continued_run_remembers_best_parameters_and_patience() {
    let mut setting = setting();
    setting.train.early_stop_patience = 2;
    let whole = unbroken(&setting, falling);
    assert_eq!((whole.1.steps, whole.1.selected.step, whole.1.selected.score), (9, 3, 0.5));
    for end in [End::Interrupt(4), End::Interrupt(6), End::Interrupt(8), End::Interrupt(9), End::Crash(6)] {
        assert_same(&in_two_parts(&setting, falling, end).1, &whole);
    }
}

#[test]
fn a_run_may_be_stopped_many_times() {
    let whole = unbroken(&setting(), rising);
    let folder = tempdir().unwrap();
    for step in [2, 3, 9] {
        let mut script = Script::new(rising, End::Interrupt(step));
        // The first part makes the initial values, the others must not depend on theirs.
        let seed = if step == 2 { 7 } else { step };
        train(&setting(), &network(seed, 0.2), folder.path(), &mut script).unwrap_err();
    }
    let encoder = network(1, 0.2);
    train(&setting(), &encoder, folder.path(), &mut Script::new(rising, End::Never)).unwrap();
    assert!(bits(&encoder) == whole.0, "parameters differ");
}

/// The batch of step 0 whatever the step, after a pause; notes what it was asked for.
struct OneBatch {
    sentences: Sentences,
    asked: Vec<u64>,
}

impl OneBatch {
    const PAUSE: Duration = Duration::from_millis(5);

    fn train(setting: &Setting, folder: &Path, script: &mut Script) -> (Self, Result<Outcome>) {
        let mut batches = Self { sentences: sentences(setting), asked: Vec::new() };
        let encoder = network(7, 0.2);
        let mut objective = info_nce(setting, &encoder);
        let result = trainer(setting, folder, script).run(&encoder, &mut batches, &mut objective, script);
        (batches, result)
    }
}

impl BatchSource for OneBatch {
    fn batch(&mut self, step: u64) -> anyhow::Result<StepBatch> {
        std::thread::sleep(Self::PAUSE);
        self.asked.push(step);
        self.sentences.batch(0)
    }
}

/// On one batch, at a learning rate that changes nothing, only the masks can make the losses differ.
#[test]
fn each_step_has_its_own_batch_and_its_own_masks() {
    let (folder, mut setting) = (tempdir().unwrap(), setting());
    setting.train.learning_rate = 1e-30;
    let mut script = Script::new(rising, End::Never);
    let (batches, result) = OneBatch::train(&setting, folder.path(), &mut script);
    result.unwrap();
    assert_eq!(batches.asked, (0..13).collect::<Vec<u64>>());
    let mut losses: Vec<u64> = script.trace().iter().map(|(_, loss, _)| *loss).collect();
    losses.sort_unstable();
    losses.dedup();
    assert_eq!(losses.len(), 13, "two steps had the same masks");
}

#[test]
fn time_is_counted_over_all_parts() {
    let folder = tempdir().unwrap();
    let mut script = Script::new(rising, End::Interrupt(12));
    OneBatch::train(&setting(), folder.path(), &mut script).1.unwrap_err();
    let mut script = Script::new(rising, End::Never);
    let (batches, result) = OneBatch::train(&setting(), folder.path(), &mut script);
    assert_eq!(batches.asked, [12]);
    assert!(result.unwrap().seconds > 13.0 * OneBatch::PAUSE.as_secs_f64());
}
