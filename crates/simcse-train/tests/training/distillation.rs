//! A student and its teacher: what is learned, through a projection or without, and that a stopped run goes on to the
//! same bits.

use candle_core::{Device, Tensor};
use simcse_losses::DistillationConfig;
use simcse_model::SentenceEncoder as _;
use simcse_random::{Stream, uniform_bits};
use simcse_train::BatchSource as _;
use simcse_train::objective::{Distillation, LossContext, Objective as _};
use tempfile::tempdir;

use crate::common::{End, Script, Setting, Twelve, bits, network, rising, setting, trainer};

const SENTENCES: usize = 12;

/// Only the cosine between embeddings, through a projection.
const COSINE: DistillationConfig = DistillationConfig {
    cosine: 1.0,
    squared: 0.0,
    similarity_matrix: 0.0,
    similarity_distribution: 0.0,
    ranking: 0.0,
    temperature: 0.1,
    projection: true,
};

/// Random vectors of `size` values as what the teacher says.
fn objective(
    config: &DistillationConfig,
    size: usize,
    setting: &Setting,
) -> simcse_train::Result<Distillation> {
    let value = |i| uniform_bits(5, i) as f32 / u32::MAX as f32 - 0.5;
    let values: Vec<f32> = (0..(SENTENCES * size) as u32).map(value).collect();
    let teacher = Tensor::from_vec(values, (SENTENCES, size), &Device::Cpu).unwrap();
    let student_size = network(7, 0.0).embedding_size();
    Distillation::new(config.clone(), teacher, student_size, &setting.train, Stream::from_seed(3))
}

fn run(
    config: &DistillationConfig,
    setting: &Setting,
    folder: &std::path::Path,
    end: End,
) -> (Vec<u32>, Script) {
    let (encoder, mut objective) = (network(7, 0.02), objective(config, 6, setting).unwrap());
    let mut script = Script::new(rising, end);
    let trained = trainer(setting, folder, &script).run(
        &encoder,
        &mut Twelve { views: 1 },
        &mut objective,
        &mut script,
    );
    assert!(trained.is_ok() || script.interrupt.is_raised(), "{}", trained.unwrap_err());
    (bits(&encoder), script)
}

#[test]
fn every_part_is_learnt() {
    let none = DistillationConfig { cosine: 0.0, ..COSINE };
    let parts = [
        COSINE,
        DistillationConfig { squared: 1.0, ..none.clone() },
        DistillationConfig { similarity_matrix: 1.0, projection: false, ..none.clone() },
        DistillationConfig { similarity_distribution: 1.0, projection: false, ..none.clone() },
        DistillationConfig { ranking: 1.0, projection: false, ..none },
    ];
    for config in parts {
        let mut setting = setting();
        setting.train.steps = 300;
        let (_, script) = run(&config, &setting, tempdir().unwrap().path(), End::Never);
        let mean = |range: std::ops::Range<usize>| {
            script.reports[range.clone()].iter().map(|report| report.loss).sum::<f64>() / range.len() as f64
        };
        // An order is never certain under a temperature: its loss has a floor.
        let (first, last) = (mean(0..10), mean(290..300));
        assert!(last < 0.7 * first, "{config:?}: {first} to {last}");
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    for config in [COSINE, DistillationConfig { cosine: 0.0, ranking: 1.0, projection: false, ..COSINE }] {
        let setting = setting();
        let [whole, parts] = [tempdir().unwrap(), tempdir().unwrap()];
        let (encoder, unbroken) = run(&config, &setting, whole.path(), End::Never);
        run(&config, &setting, parts.path(), End::Interrupt(6));
        let (encoder_again, rest) = run(&config, &setting, parts.path(), End::Never);
        assert_eq!(rest.begun, Some(6));
        assert!(encoder == encoder_again, "{config:?}");
        assert_eq!(rest.trace(), unbroken.trace()[6..]);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let setting = setting();
    let without = DistillationConfig { projection: false, ..COSINE };
    let message = objective(&without, 6, &setting).err().unwrap().to_string();
    assert!(message.contains("projection = false:") && message.contains("fix: "), "{message}");
    objective(&without, 12, &setting).unwrap();
    let mut batch = Twelve { views: 1 }.batch(0).unwrap();
    batch.groups[0] = 12;
    let embeddings = network(7, 0.0).forward(&batch.tokens, simcse_model::Mode::Evaluate).unwrap();
    let loss = objective(&COSINE, 6, &setting).unwrap().loss(&embeddings, &batch, LossContext::LOOK);
    assert!(loss.err().unwrap().to_string().contains("has no embedding of the teacher; fix: "));
}
