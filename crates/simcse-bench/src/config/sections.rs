//! The sections of a configuration that belong to this crate.

use serde::{Deserialize, Serialize};
use simcse_model::TextCnnConfig;
use simcse_model::transformer::{DropoutRates, Pooling};
use simcse_ops::linear::Precision;

/// The `[data]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Sources of unlabelled sentences, for views: `name/split` of the catalogue, or a path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<String>,
    /// Sources of triplets (or of labelled NLI pairs), for the contrast with hard negatives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triplets: Vec<String>,
    /// The hard negatives of the triplets are left aside: entailment alone (Gao et al. 2021, table 7, "N/A").
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_hard_negatives: bool,
    /// Sources of scored pairs, for CoSENT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<String>,
    /// Whether sentences that stand in a test set stay in the training text. Every table marks it.
    pub transductive: bool,
    /// Tokens of a sentence beyond this number are cut off, and counted.
    pub max_tokens: usize,
    /// Training sentences are cut here, on purpose, where the encoder itself takes `max_tokens` (SimCSE trains on
    /// 32 tokens and cuts nothing at test time); left out: at `max_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_max_tokens: Option<usize>,
    /// At most this many sentences or labelled examples, a seeded choice; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Every batch is made of sentences of one source, so that negatives are of the sentence's own kind; for
    /// `train`. Left out: sources are mixed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batches_of_one_source: bool,
}

/// What an encoder is trained on: exactly one of the three kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainingText {
    /// Views of sentences without labels.
    Sentences,
    /// Triplets.
    Triplets,
    /// Scored pairs.
    Pairs,
}

impl DataConfig {
    /// Tokens at which training sentences are cut.
    pub fn most_train_tokens(&self) -> usize {
        self.train_max_tokens.unwrap_or(self.max_tokens)
    }

    /// The kind of text and its sources; `None` unless exactly one kind has sources.
    pub fn text(&self) -> Option<(TrainingText, &[String])> {
        match (self.train.as_slice(), self.triplets.as_slice(), self.pairs.as_slice()) {
            (sources @ [_, ..], [], []) => Some((TrainingText::Sentences, sources)),
            ([], sources @ [_, ..], []) => Some((TrainingText::Triplets, sources)),
            ([], [], sources @ [_, ..]) => Some((TrainingText::Pairs, sources)),
            _ => None,
        }
    }
}

/// The `[encoder]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EncoderConfig {
    /// TextCNN.
    TextCnn(TextCnnSection),
    /// A pretrained transformer: BERT, ALBERT, RoBERTa, XLM-RoBERTa.
    Transformer(TransformerSection),
}

/// A pretrained transformer, and what becomes of its token states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerSection {
    /// A folder, its name below the model folder, or `owner/name` on the hub.
    pub checkpoint: String,
    /// Branch, tag or commit on the hub; left out: `main`. The commit is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Number of layers, the first ones; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// From token states to the embedding.
    pub pooling: Pooling,
    /// For `weighted_mean` and `smooth_maximum`: tokens begin with the weight a / (a + frequency in the training
    /// text), and this is a; left out: all begin with the same weight. Arora et al. 2017: 0.001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_weight_smoothing: Option<f64>,
    /// For `smooth_maximum`: what its sharpness begins with; left out: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharpness: Option<f64>,
    /// Put before every sentence, in training and at test time; left out: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Rate of dropout after the embedding layer, the attention block and the feed-forward block. BERT: 0.1.
    pub hidden_dropout: f64,
    /// Rate of dropout on the probabilities of attention. BERT: 0.1.
    pub attention_dropout: f64,
    /// What matrix products are computed in, in training and at test time: `f32` or `bf16`. Parameters, sums and
    /// the optimiser are float32 in either case; left out: `f32`.
    #[serde(default, skip_serializing_if = "is_float32")]
    pub precision: Precision,
}

/// Configurations that were written before the key was there keep their text, and so their hash.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_float32(precision: &Precision) -> bool {
    *precision == Precision::Float32
}

impl TransformerSection {
    /// The rates of dropout by place.
    pub fn dropout(&self) -> DropoutRates {
        DropoutRates::new(self.hidden_dropout, self.attention_dropout)
    }
}

/// The `[teacher]` section: the encoder whose embeddings a student follows, dropout off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherConfig {
    /// A trained encoder: its directory, or `EXPERIMENT/NAME-sSEED` of a run in the results folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// A published checkpoint as it is; one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<TransformerSection>,
    /// The teacher's embeddings are whitened, fitted on the training text; left out: not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whitening: Option<WhiteningConfig>,
}

/// The `[masked_language]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskedLanguageConfig {
    /// Weight λ of its loss beside the main one (Gao et al. 2021, table D.2: 0.01 to 1).
    pub weight: f64,
    /// Share of the tokens that are to be predicted. BERT: 0.15.
    pub rate: f64,
}

/// A TextCNN and what its embedding begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextCnnSection {
    /// Token vectors to begin with: a file, searched in the model folder as well; left out: random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<String>,
    /// Shape and dropout.
    pub network: TextCnnConfig,
}

/// The `[evaluation]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Tasks that are scored at the end, by their catalogue names.
    pub tasks: Vec<String>,
    /// Tasks whose dev Spearman, averaged, selects the parameters.
    pub select_on: Vec<String>,
    /// At most this many pairs of each dev set are used while selecting (the first ones); 0: all.
    pub select_pairs: usize,
    /// Whitening of the trained encoder; left out: none. Selection never sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whitening: Option<WhiteningConfig>,
}

/// The `[evaluation.whitening]` section: embeddings are whitened before they are scored and saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhiteningConfig {
    /// Training sentences to fit on, the first ones of the corpus; at most all of them.
    pub sentences: usize,
    /// At most this many directions of largest variance are kept; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<usize>,
}
