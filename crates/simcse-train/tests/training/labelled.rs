//! Triplets and labelled pairs: losses against ones computed from their equations, and whole runs.

use candle_core::{Device, Tensor};
use simcse_data::{TokenBatch, TokenRow};
use simcse_losses::{CosentConfig, InfoNceConfig, QueueConfig};
use simcse_train::objective::{Cosent, LossContext, Objective, TripletContrast, ViewContrast};
use simcse_train::{BatchSource, StepBatch};
use tempfile::tempdir;

use crate::common::{
    End, SameBatch, Script, Sentences, Setting, bits, info_nce_config, network, rising, sentences, setting,
    trainer,
};

/// Sentences as anchors, each reversed as its positive, with the gold value `i % 3`. As triplets, those of
/// even number have a sentence of the next step as hard negative.
struct Labelled {
    sentences: Sentences,
    triplets: bool,
}

impl BatchSource for Labelled {
    fn batch(&mut self, step: u64) -> anyhow::Result<StepBatch> {
        let (now, next) = (self.sentences.batch(step)?, self.sentences.batch(step + 1)?);
        let sentences = now.sentences;
        let reversed: Vec<Vec<u32>> =
            (0..sentences).map(|row| now.tokens.row(row).iter().rev().copied().collect()).collect();
        let mut rows = Vec::new();
        for sentence in 0..sentences {
            rows.push(TokenRow { ids: now.tokens.row(sentence), sentence: sentence as u32, view: 0 });
        }
        for (sentence, ids) in reversed.iter().enumerate() {
            rows.push(TokenRow { ids, sentence: sentence as u32, view: 1 });
        }
        let owners: Vec<u32> = (0..sentences as u32).step_by(2).filter(|_| self.triplets).collect();
        for &owner in &owners {
            rows.push(TokenRow { ids: next.tokens.row(owner as usize), sentence: owner, view: 2 });
        }
        Ok(StepBatch {
            tokens: TokenBatch::from_rows(&rows)?,
            sentences,
            views: 2,
            groups: (0..rows.len() as u32).collect(),
            hard_negative_owners: owners,
            gold: (0..sentences).map(|sentence| (sentence % 3) as f32).collect(),
        })
    }
}

fn labelled(setting: &Setting, triplets: bool) -> Labelled {
    Labelled { sentences: sentences(setting), triplets }
}

fn train_labelled(
    setting: &Setting,
    dropout: f64,
    mut batches: impl BatchSource,
    objective: &mut dyn Objective,
) -> (Vec<u32>, Script) {
    let (folder, encoder) = (tempdir().unwrap(), network(7, dropout));
    let mut script = Script::new(rising, End::Never);
    trainer(setting, folder.path(), &script).run(&encoder, &mut batches, objective, &mut script).unwrap();
    (bits(&encoder), script)
}

/// Fifteen rows of a fixed pattern, none like another: 6 anchors, 6 positives, 3 hard negatives.
fn embeddings() -> Vec<Vec<f64>> {
    (0..15).map(|row| (0..4).map(|d| ((row * 7 + d * 5) as f64 * 0.9).sin()).collect()).collect()
}

fn tensor(rows: &[Vec<f64>]) -> Tensor {
    let values: Vec<f32> = rows.iter().flatten().map(|value| *value as f32).collect();
    Tensor::from_vec(values, (rows.len(), 4), &Device::Cpu).unwrap()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn loss(objective: &dyn Objective, rows: &[Vec<f64>]) -> f64 {
    let batch = labelled(&setting(), rows.len() > 12).batch(0).unwrap();
    f64::from(
        objective.loss(&tensor(rows), &batch, LossContext::LOOK).unwrap().loss.to_scalar::<f32>().unwrap(),
    )
}

/// Gao et al. 2021, equation 5, and its weighted form: α before exp(sim / τ) of an anchor's own hard
/// negative; anchors 1, 3 and 5 have none of their own and see those of the others.
#[test]
fn triplets_follow_the_equation() {
    let rows = embeddings();
    for weight in [None, Some(0.5), Some(2.0)] {
        let config = InfoNceConfig { hard_negative_weight: weight, ..info_nce_config(&setting()) };
        let power = |i: usize, j: usize| (cosine(&rows[i], &rows[j]) / config.temperature).exp();
        let wanted: f64 = (0..6)
            .map(|i| {
                let positives: f64 = (0..6).map(|j| power(i, 6 + j)).sum();
                let alpha = |j: usize| if 2 * j == i { weight.unwrap_or(1.0) } else { 1.0 };
                let hard: f64 = (0..3).map(|j| alpha(j) * power(i, 12 + j)).sum();
                -(power(i, 6 + i) / (positives + hard)).ln() / 6.0
            })
            .sum();
        let found = loss(&TripletContrast::new(config).unwrap(), &rows);
        assert!((found - wanted).abs() < 1e-5 * wanted, "{weight:?}: {found}, wanted {wanted}");
    }
}

/// Su 2022: log(1 + Σ exp(scale · (cos_j - cos_i))) over all pairs i, j with gold_i > gold_j.
#[test]
fn cosent_follows_the_equation() {
    let rows = embeddings();
    let pair = |i: usize| cosine(&rows[i], &rows[6 + i]);
    let gold = |i: usize| i % 3;
    let couples = (0..6).flat_map(|i| (0..6).map(move |j| (i, j))).filter(|(i, j)| gold(*i) > gold(*j));
    let wanted = couples.map(|(i, j)| (20.0 * (pair(j) - pair(i))).exp()).sum::<f64>().ln_1p();
    let found = loss(&Cosent { config: CosentConfig { scale: 20.0 } }, &rows[..12]);
    assert!((found - wanted).abs() < 1e-5 * wanted, "{found}, wanted {wanted}");
}

fn mean(script: &Script, steps: std::ops::Range<usize>) -> f64 {
    script.reports[steps.clone()].iter().map(|report| report.loss).sum::<f64>() / steps.len() as f64
}

#[test]
fn triplets_are_learnt_in_whole_batches_and_in_pieces() {
    let mut setting = setting();
    (setting.train.steps, setting.train.learning_rate) = (60, 2e-2);
    setting.health.chance_level_steps = 40;
    let config = InfoNceConfig { hard_negative_weight: Some(1.0), ..info_nce_config(&setting) };
    let (whole, script) = train_labelled(
        &setting,
        0.2,
        labelled(&setting, true),
        &mut TripletContrast::new(config.clone()).unwrap(),
    );
    assert!(mean(&script, 50..60) < 0.7 * mean(&script, 0..10), "{:?}", script.reports);
    let seen = script.reports[0].diagnostics.unwrap();
    // 6 positives and 3 hard negatives.
    assert!((seen.chance_loss.unwrap() - 9.0_f64.ln()).abs() < 1e-9, "{seen:?}");
    (setting.train.steps, setting.train.gradient_cache_rows) = (4, Some(4));
    let (_, pieces) =
        train_labelled(&setting, 0.2, labelled(&setting, true), &mut TripletContrast::new(config).unwrap());
    assert!((pieces.reports[0].loss - script.reports[0].loss).abs() < 1e-5);
    let norms = [&pieces, &script].map(|script| script.reports[0].gradient_norm);
    assert!(norms[0] != norms[1] && (norms[0] - norms[1]).abs() < 1e-5 * norms[1], "{norms:?}");
    assert!(whole != bits(&network(7, 0.2)));
}

/// The loss of CoSENT has no chance level: it begins above ln 6, and health checks let it be.
#[test]
fn the_order_of_pairs_is_learnt_and_not_taken_for_a_guess() {
    let (mut setting, mut objective) = (setting(), Cosent { config: CosentConfig { scale: 20.0 } });
    (setting.train.steps, setting.train.learning_rate) = (60, 2e-2);
    setting.health.chance_level_steps = 1;
    let batches = SameBatch(labelled(&setting, false));
    let (_, script) = train_labelled(&setting, 0.0, batches, &mut objective);
    let (first, last) = (&script.reports[0], &script.reports[59]);
    assert!(first.loss > 6.0_f64.ln() && last.loss < 0.5 * first.loss, "{first:?} to {last:?}");
    let seen = script.reports.iter().filter_map(|report| report.diagnostics?.accuracy).collect::<Vec<_>>();
    assert!(seen[0] < 0.8 && *seen.last().unwrap() > 0.9, "{seen:?}");
}

#[test]
fn what_a_loss_has_no_use_for_is_refused() {
    let config = || info_nce_config(&setting());
    let weighted = InfoNceConfig { hard_negative_weight: Some(1.0), ..config() };
    let queued = InfoNceConfig { queue: Some(QueueConfig { size: 5, momentum: 0.9 }), ..config() };
    let encoder = network(7, 0.2);
    let batch = labelled(&setting(), true).batch(0).unwrap();
    let cosent = Cosent { config: CosentConfig { scale: 20.0 } };
    let views = ViewContrast::new(config(), &encoder).unwrap();
    let lines = [
        ViewContrast::new(weighted, &encoder).err().unwrap().to_string(),
        TripletContrast::new(queued).err().unwrap().to_string(),
        views.loss(&tensor(&embeddings()), &batch, LossContext::LOOK).err().unwrap().to_string(),
        cosent.loss(&tensor(&embeddings()), &batch, LossContext::LOOK).err().unwrap().to_string(),
    ];
    let wanted = ["hard_negative_weight = 1", "queue = ", "views of a sentence have no", "pairs have no"];
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.contains(wanted) && line.contains("; fix: ") && !line.contains('\n'), "{line}");
    }
}

/// Triplets whose hard negatives have lost their owners.
struct Unowned(Labelled);

impl BatchSource for Unowned {
    fn batch(&mut self, step: u64) -> anyhow::Result<StepBatch> {
        Ok(StepBatch { hard_negative_owners: Vec::new(), ..self.0.batch(step)? })
    }
}

#[test]
fn a_batch_that_does_not_fit_together_stops_the_run() {
    let (folder, encoder, setting) = (tempdir().unwrap(), network(7, 0.2), setting());
    let mut script = Script::new(rising, End::Never);
    let mut objective = TripletContrast::new(info_nce_config(&setting)).unwrap();
    let trainer = trainer(&setting, folder.path(), &script);
    let result = trainer.run(&encoder, &mut Unowned(labelled(&setting, true)), &mut objective, &mut script);
    let line = result.unwrap_err().to_string();
    assert!(
        line.starts_with("the batch has 15 rows for 2 views of 6 anchors and 0 hard negatives; fix: "),
        "{line}"
    );
}
