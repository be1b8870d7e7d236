//! Steps of a margin softmax over a large table of sentence classes, with a TextCNN.

use std::time::Instant;

use anyhow::Result;
use simcse_data::{BatchSampler, LastBatch, Position, TokenBatch};
use simcse_losses::ClassUpdate;
use simcse_model::{DropoutStream, Mode, SentenceEncoder as _, TextCnn};
use simcse_ops::adamw::AdamWStep;
use simcse_ops::margin_softmax::{Margin, MarginSoftmax, margin_softmax};
use simcse_ops::profile;
use simcse_random::Stream;
use simcse_train::class_table::ClassTable;
use simcse_train::optimizer::AdamW;

use crate::encoders::{Characters, TextCnnOptions};
use crate::steps::{Measured, train_config};

/// A TextCNN over characters whose sentences are classes: AM-Softmax, s = 30, m = .35.
#[derive(Debug, clap::Args)]
pub(crate) struct MarginCommand {
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    classes: usize,
    /// Dropout views of each sentence
    #[arg(long, value_name = "N", default_value_t = 2)]
    views: usize,
    /// Share of the classes that a step looks at
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    sampled_share: f64,
    #[command(flatten)]
    text_cnn: TextCnnOptions,
}

const LEARNING_RATE: f64 = 1e-3;
const LOSS: MarginSoftmax = MarginSoftmax { scale: 30.0, margin: Margin::Cosine(0.35), sub_centres: 1 };

impl MarginCommand {
    pub(crate) fn run(&self) -> Result<String> {
        let Characters { encoder, mut sequences } = self.text_cnn.characters()?;
        sequences.truncate(self.classes);
        let options = &self.text_cnn.common.steps;
        let mean_tokens = sequences.iter().map(Vec::len).sum::<usize>() as f64 / sequences.len() as f64;
        let stream = Stream::from_seed(1);
        let sampler = BatchSampler::unique(sequences.len(), options.batch_size, LastBatch::Drop, stream)?;
        let config = train_config(options.warm_up + options.steps, LEARNING_RATE, options);
        let mut optimizer = AdamW::new(&config, encoder.parameters())?;
        let mut table = ClassTable::random(self.classes, 1, encoder.embedding_size(), stream)?;
        let mut measured = Measured::default();
        let batches = sampler.batches_from(Position { epoch: 0, batch: 0 });
        profile::enable();
        for (number, batch) in (0..options.warm_up + options.steps).zip(batches) {
            if number == options.warm_up {
                drop(profile::take());
            }
            let began = Instant::now();
            let chosen: Vec<&[u32]> =
                batch.sentences.iter().map(|index| sequences[*index as usize].as_slice()).collect();
            let tokens = TokenBatch::from_sequences(&chosen)?.with_views(self.views)?;
            let labels = batch.sentences.repeat(self.views);
            let loss =
                self.step(&encoder, &mut optimizer, &mut table, &tokens, &labels, stream.fold(number))?;
            measured.push(began.elapsed(), loss, number >= options.warm_up);
        }
        measured.report(options, mean_tokens)
    }

    fn step(
        &self,
        encoder: &TextCnn,
        optimizer: &mut AdamW,
        table: &mut ClassTable,
        tokens: &TokenBatch,
        labels: &[u32],
        stream: Stream,
    ) -> Result<f64> {
        let _step = profile::step();
        let embeddings = encoder.forward(tokens, Mode::Train(DropoutStream::new(stream, 0)))?;
        let sampled = table.sample(labels, self.sampled_share, stream)?;
        let (losses, _) = margin_softmax(&embeddings, &sampled.centres, &sampled.labels, LOSS)?;
        let loss = losses.mean_all()?;
        let gradients = loss.backward()?;
        optimizer.step(&gradients, LEARNING_RATE)?;
        let step = AdamWStep {
            learning_rate: LEARNING_RATE,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            step: 0,
            gradient_scale: 1.0,
        };
        if let Some(gradient) = gradients.get(&sampled.centres) {
            table.update(&sampled, gradient, ClassUpdate::Lazy, step)?;
        }
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }
}
