//! Names of weights: those of `transformers`, without the prefix of the model class.

use std::ops::Range;

use super::config::Architecture;

/// Where one layer's weights stand.
pub(super) struct LayerNames {
    pub(super) query: String,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) attention_output: String,
    pub(super) attention_norm: String,
    pub(super) intermediate: String,
    pub(super) output: String,
    pub(super) output_norm: String,
}

impl LayerNames {
    /// BERT's and RoBERTa's layer of this number.
    pub(super) fn numbered(number: usize) -> Self {
        let name = |rest: &str| format!("encoder.layer.{number}.{rest}");
        Self {
            query: name("attention.self.query"),
            key: name("attention.self.key"),
            value: name("attention.self.value"),
            attention_output: name("attention.output.dense"),
            attention_norm: name("attention.output.LayerNorm"),
            intermediate: name("intermediate.dense"),
            output: name("output.dense"),
            output_norm: name("output.LayerNorm"),
        }
    }

    /// The layer that an ALBERT uses at every depth; `None` for the others.
    pub(super) fn shared(architecture: Architecture) -> Option<Self> {
        let name = |rest: &str| format!("encoder.albert_layer_groups.0.albert_layers.0.{rest}");
        (architecture == Architecture::Albert).then(|| Self {
            query: name("attention.query"),
            key: name("attention.key"),
            value: name("attention.value"),
            attention_output: name("attention.dense"),
            attention_norm: name("attention.LayerNorm"),
            intermediate: name("ffn"),
            output: name("ffn_output"),
            output_norm: name("full_layer_layer_norm"),
        })
    }
}

/// Where the head of masked language modelling stands.
pub(super) struct MaskedLmNames {
    pub(super) dense: &'static str,
    pub(super) norm: &'static str,
    pub(super) bias: &'static str,
    /// Another name of the bias, under which newer files may keep it.
    pub(super) decoder_bias: &'static str,
}

impl MaskedLmNames {
    /// Whether a parameter of this name belongs to the head.
    pub(super) fn contains(&self, name: &str) -> bool {
        let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
        layer == self.dense || layer == self.norm || name == self.bias
    }

    pub(super) fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Bert => Self {
                dense: "cls.predictions.transform.dense",
                norm: "cls.predictions.transform.LayerNorm",
                bias: "cls.predictions.bias",
                decoder_bias: "cls.predictions.decoder.bias",
            },
            Architecture::Albert => Self {
                dense: "predictions.dense",
                norm: "predictions.LayerNorm",
                bias: "predictions.bias",
                decoder_bias: "predictions.decoder.bias",
            },
            Architecture::Roberta | Architecture::XlmRoberta => Self {
                dense: "lm_head.dense",
                norm: "lm_head.layer_norm",
                bias: "lm_head.bias",
                decoder_bias: "lm_head.decoder.bias",
            },
        }
    }
}

/// Prefixes under which model classes keep the encoder.
const PREFIXES: [&str; 3] = ["bert.", "albert.", "roberta."];

/// The name without the prefix of a model class, and with today's words for a layer norm's weights.
pub(super) fn canonical(name: &str) -> String {
    let name = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let today = [(".gamma", ".weight"), (".beta", ".bias")]
        .iter()
        .find_map(|(old, new)| name.strip_suffix(old).map(|stem| format!("{stem}{new}")));
    today.unwrap_or_else(|| name.to_owned())
}

/// Whether a weight that the encoder does not use may stand in a file of it: heads of other tasks, a
/// buffer, and the layers `cut` off. Takes a canonical name.
pub(super) fn is_harmless(name: &str, cut: Range<usize>) -> bool {
    // `mlp` is the head of SimCSE's own training class, `predictions` and `sop_classifier` are ALBERT's.
    const HEADS: [&str; 9] = [
        "pooler.",
        "cls.",
        "lm_head.",
        "predictions.",
        "sop_classifier.",
        "classifier.",
        "qa_outputs.",
        "mlp.",
        "pre_classifier.",
    ];
    let layer = name.strip_prefix("encoder.layer.").and_then(|rest| rest.split('.').next());
    let is_cut =
        layer.and_then(|number| number.parse().ok()).is_some_and(|number: usize| cut.contains(&number));
    is_cut || name == "embeddings.position_ids" || HEADS.iter().any(|head| name.starts_with(head))
}
