//! The momentum encoder and its queue, against values computed beside it.

use candle_core::Tensor;
use simcse_data::TokenBatch;
use simcse_losses::{Negatives, QueueConfig, RowGroups, info_nce_with};
use simcse_model::transformer::{Architecture, HiddenActivation};
use simcse_model::{
    DropoutRates, DropoutStream, Mode, Pooling, SentenceEncoder, TextCnn, Transformer, TransformerConfig,
    TransformerOptions,
};
use simcse_random::Stream;
use simcse_train::objective::{LossContext, Objective, ViewContrast};
use simcse_train::{BatchSource as _, StepBatch};

use crate::common::{Setting, info_nce_config, network, sentences, setting};

const MOMENTUM: f64 = 0.75;

fn queued() -> Setting {
    Setting { queue: Some(QueueConfig { size: 15, momentum: MOMENTUM }), ..setting() }
}

/// Six sentences, and the same read backwards as view 1.
fn batch(step: u64) -> StepBatch {
    let batch = sentences(&queued()).batch(step).unwrap();
    let view = |row: usize| batch.tokens.row(row).to_vec();
    let backwards = |row: usize| view(row).into_iter().rev().collect();
    let both: [Vec<Vec<u32>>; 2] = [(0..6).map(view).collect(), (0..6).map(backwards).collect()];
    StepBatch { tokens: TokenBatch::from_views(&both).unwrap(), ..batch }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn parameters(encoder: &dyn SentenceEncoder) -> Vec<f64> {
    encoder.parameters().iter().flat_map(|(_, var)| values(var)).map(f64::from).collect()
}

/// The part of the state whose names begin with this.
fn state(objective: &ViewContrast, prefix: &str) -> Vec<f32> {
    let state = objective.state().unwrap();
    state.iter().filter(|(name, _)| name.starts_with(prefix)).flat_map(|(_, tensor)| values(tensor)).collect()
}

fn near(found: impl Iterator<Item = f64>, wanted: impl Iterator<Item = f64>) -> bool {
    found.zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0))
}

/// Puts the parameters of the network of this seed into `encoder`: as good as a step.
fn step(encoder: &TextCnn, seed: u64) {
    let other = network(seed, 0.2);
    encoder.parameters().restore(&other.parameters().snapshot().unwrap()).unwrap();
}

/// Before each step: what the queue holds then is a function of the steps before.
#[test]
fn it_follows_the_encoder_and_keeps_the_newest_positives() {
    let encoder = network(1, 0.2);
    let mut objective = ViewContrast::new(info_nce_config(&queued()), &encoder).unwrap();
    let (mut slow, mut queue) = (parameters(&encoder), Vec::<f64>::new());
    assert_eq!(state(&objective, "queue"), Vec::<f32>::new());
    for seed in 2..6 {
        step(&encoder, seed);
        let batch = batch(seed);
        objective.after_step(&encoder, &batch).unwrap();
        // θ_m ← m·θ_m + (1 - m)·θ, with the parameters after the step.
        for (slow, parameter) in slow.iter_mut().zip(parameters(&encoder)) {
            *slow = MOMENTUM * *slow + (1.0 - MOMENTUM) * parameter;
        }
        let found = state(&objective, "momentum_encoder/");
        assert_eq!(found.len(), slow.len());
        assert!(near(found.iter().copied().map(f64::from), slow.iter().copied()), "after seed {seed}");
        queue.extend(embed_with(&slow, &batch));
        let newest = queue.len().saturating_sub(15 * 12);
        let found = state(&objective, "queue");
        assert_eq!(found.len(), queue.len() - newest, "after seed {seed}");
        assert!(near(found.into_iter().map(f64::from), queue[newest..].iter().copied()), "after seed {seed}");
    }
    assert!(parameters(&encoder) == parameters(&network(5, 0.2)), "the encoder itself was changed");
}

/// Embeddings of view 1 alone, dropout off, of a network with these parameters, sentence by sentence.
fn embed_with(slow: &[f64], batch: &StepBatch) -> Vec<f64> {
    let copy = network(1, 0.2);
    let mut rest = slow;
    for (_, variable) in copy.parameters().iter() {
        let (head, tail) = rest.split_at(variable.elem_count());
        let head: Vec<f32> = head.iter().map(|value| *value as f32).collect();
        variable.set(&Tensor::from_vec(head, variable.shape(), variable.device()).unwrap()).unwrap();
        rest = tail;
    }
    let rows = (6..12).map(|row| TokenBatch::from_sequences(&[batch.tokens.row(row)]).unwrap());
    rows.flat_map(|row| values(&copy.forward(&row, Mode::Evaluate).unwrap())).map(f64::from).collect()
}

#[test]
fn the_loss_sees_the_queue_as_negatives() {
    let encoder = network(1, 0.2);
    let config = info_nce_config(&queued());
    let mut objective = ViewContrast::new(config.clone(), &encoder).unwrap();
    let batch = batch(3);
    let embeddings = encoder.forward(&batch.tokens, Mode::Evaluate).unwrap();
    let scalar = |tensor: &Tensor| tensor.to_scalar::<f32>().unwrap();
    let empty = objective.loss(&embeddings, &batch, LossContext::LOOK).unwrap();
    step(&encoder, 2);
    objective.after_step(&encoder, &self::batch(2)).unwrap();
    let found = objective.loss(&embeddings, &batch, LossContext::LOOK).unwrap();

    let state = objective.state().unwrap();
    let queue = &state.iter().find(|(name, _)| name == "queue").unwrap().1;
    assert_eq!(queue.dims(), [6, 12]);
    let groups = RowGroups { anchors: &batch.groups[..6], positives: &batch.groups[6..], hard: &[] };
    let negatives = Negatives { hard: None, queue: Some(queue) };
    let (anchors, positives) = (embeddings.narrow(0, 0, 6).unwrap(), embeddings.narrow(0, 6, 6).unwrap());
    let wanted = info_nce_with(&anchors, &positives, &negatives, &config, Some(&groups)).unwrap();
    assert_eq!(scalar(&found.loss), scalar(&wanted.mean().unwrap()));
    assert!(scalar(&found.loss) > scalar(&empty.loss), "more negatives, more loss");
    // A guess among 6, and among 6 and the 6 of the queue.
    let chance = |step: &simcse_train::objective::StepLoss| step.diagnostics.unwrap().chance_loss.unwrap();
    assert!((chance(&empty) - 6.0_f64.ln()).abs() < 1e-9 && (chance(&found) - 12.0_f64.ln()).abs() < 1e-9);
}

/// A transformer whose tanh layer acts in training only.
fn transformer(dropout: DropoutRates) -> Transformer {
    let config = TransformerConfig {
        architecture: Architecture::Bert,
        vocab_size: 50,
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
    let pooling = Pooling::ClsTanhInTraining;
    let options = TransformerOptions {
        layers: None,
        dropout,
        masked_lm: false,
        ..TransformerOptions::evaluation(pooling)
    };
    Transformer::new(config, &options, Stream::from_seed(4)).unwrap()
}

/// Anchors go through the tanh layer, so what they are compared with must, too. Training at rate 0 is the
/// same without the mode that the queue uses.
#[test]
fn the_queue_lies_in_the_space_of_the_anchors() {
    let encoder = transformer(DropoutRates::new(0.3, 0.3));
    let mut objective = ViewContrast::new(info_nce_config(&queued()), &encoder).unwrap();
    let batch = batch(3);
    objective.after_step(&encoder, &batch).unwrap();
    let found = state(&objective, "queue");

    let positives = batch.tokens.slice(batch.positives()).unwrap();
    let embed = |mode: Mode| values(&transformer(DropoutRates::NONE).forward(&positives, mode).unwrap());
    let distance = |wanted: Vec<f32>| {
        assert_eq!(found.len(), wanted.len());
        // `max` would pass over what is no number.
        assert!(found.iter().chain(&wanted).all(|value| value.is_finite()), "{found:?}, {wanted:?}");
        found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let of_training = distance(embed(Mode::Train(DropoutStream::new(Stream::from_seed(1), 0))));
    assert!(of_training < 1e-6, "{of_training:e}");
    let of_use = distance(embed(Mode::Evaluate));
    assert!(of_use > 1e-2, "the test does not see the tanh layer: {of_use:e}");
}
