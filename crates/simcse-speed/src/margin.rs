//! Steps of a margin softmax over a large table of sentence classes, with a TextCNN.

use anyhow::Result;
use simcse_losses::{ClassUpdate, InitialCentres, MarginKind, MarginSoftmaxConfig};
use simcse_model::SentenceEncoder as _;
use simcse_ops::linear::Precision;
use simcse_random::Stream;
use simcse_train::class_table::ClassTable;
use simcse_train::objective::ClassMargin;

use crate::encoders::{Characters, TextCnnOptions, precision};
use crate::steps::{self, train_config};

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
    /// What products with the classes are computed in: f32 or bf16
    #[arg(long, value_name = "NAME", default_value = "f32", value_parser = precision)]
    precision: Precision,
    #[command(flatten)]
    text_cnn: TextCnnOptions,
}

impl MarginCommand {
    pub(crate) fn run(&self) -> Result<String> {
        let Characters { encoder, mut sequences } = self.text_cnn.characters()?;
        sequences.truncate(self.classes);
        let options = &self.text_cnn.common.steps;
        let (train, stream) = (train_config(1e-3, options), Stream::from_seed(1));
        let loss = MarginSoftmaxConfig {
            views: self.views,
            margin_kind: MarginKind::Cosine,
            margin: 0.35,
            scale: 30.0,
            sub_centres: 1,
            sampled_share: self.sampled_share,
            class_update: ClassUpdate::Lazy,
            class_momentum: None,
            initial_centres: InitialCentres::Random,
            class_learning_rate_factor: 1.0,
            precision: self.precision,
            near_duplicates: None,
        };
        let table = ClassTable::random(self.classes, loss.sub_centres, encoder.embedding_size(), stream)?;
        let class_of = (0..sequences.len() as u32).collect();
        let mut objective = ClassMargin::new(loss, table, class_of, &train, stream)?;
        steps::run(&encoder, sequences, self.views, &mut objective, &train, options)
    }
}
