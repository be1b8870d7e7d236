//! The shape of a published transformer: its `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use simcse_ops::linear::Activation;

use crate::{ModelError, Result};

/// A family of encoders; they differ in names of weights and in the numbering of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// BERT (Devlin et al. 2019).
    #[serde(rename = "bert")]
    Bert,
    /// ALBERT (Lan et al. 2020): one layer used at every depth, token vectors of a size of their own.
    #[serde(rename = "albert")]
    Albert,
    /// RoBERTa (Liu et al. 2019): BERT whose positions begin after the padding id.
    #[serde(rename = "roberta")]
    Roberta,
    /// XLM-RoBERTa (Conneau et al. 2020): as RoBERTa.
    #[serde(rename = "xlm-roberta")]
    XlmRoberta,
}

impl Architecture {
    fn of(model_type: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(model_type)).ok()
    }

    /// The class of `transformers`, as in `architectures`.
    fn class(self) -> &'static str {
        match self {
            Self::Bert => "BertModel",
            Self::Albert => "AlbertModel",
            Self::Roberta => "RobertaModel",
            Self::XlmRoberta => "XLMRobertaModel",
        }
    }

    fn default_pad_token_id(self) -> u32 {
        match self {
            Self::Bert | Self::Albert => 0,
            Self::Roberta | Self::XlmRoberta => 1,
        }
    }
}

/// The function between the two linear layers of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HiddenActivation {
    /// Exact GELU (with erf).
    #[serde(rename = "gelu")]
    Gelu,
    /// GELU by tanh, as ALBERT's first release has it.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    /// max(0, x).
    #[serde(rename = "relu")]
    Relu,
}

impl From<HiddenActivation> for Activation {
    fn from(activation: HiddenActivation) -> Self {
        match activation {
            HiddenActivation::Gelu => Self::Gelu,
            HiddenActivation::GeluTanh => Self::GeluTanh,
            HiddenActivation::Relu => Self::Relu,
        }
    }
}

/// Sizes and rules of a transformer. Serialises to the keys of `transformers`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TransformerConfig {
    /// The family.
    #[serde(rename = "model_type")]
    pub architecture: Architecture,
    /// Rows `V` of the word table.
    pub vocab_size: usize,
    /// Size `E` of a word vector; `H` but for ALBERT.
    pub embedding_size: usize,
    /// Size `H` of a token state.
    pub hidden_size: usize,
    /// Number of layers `L`.
    pub num_hidden_layers: usize,
    /// Number of attention heads; divides `H`.
    pub num_attention_heads: usize,
    /// Size of the feed-forward block.
    pub intermediate_size: usize,
    /// The function inside of the feed-forward block.
    pub hidden_act: HiddenActivation,
    /// Rows of the position table.
    pub max_position_embeddings: usize,
    /// Rows of the token type table; only row 0 is used.
    pub type_vocab_size: usize,
    /// Added to the variance in a layer norm.
    pub layer_norm_eps: f64,
    /// Id of padding; where RoBERTa begins to count positions.
    pub pad_token_id: u32,
}

/// `config.json` as published; keys that do not matter here are ignored.
#[derive(Deserialize)]
struct Published {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    vocab_size: usize,
    embedding_size: Option<usize>,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    pad_token_id: Option<u32>,
    num_hidden_groups: Option<usize>,
    inner_group_num: Option<usize>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
}

impl TransformerConfig {
    /// Reads a `config.json`.
    ///
    /// Fails, naming file and key, on a model that is none of the [`Architecture`]s, on a missing size, on
    /// ALBERT with several groups of layers, and on positions that are not absolute. Left-out keys have the
    /// values of `transformers`: `layer_norm_eps` 1e-12, `type_vocab_size` 2, `pad_token_id` 0 (RoBERTa 1).
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ModelError::file(
                path,
                format!("{error}; fix: name the folder of a model as `transformers` saves it"),
            )
        })?;
        let published: Published = serde_json::from_str(&text).map_err(|error| {
            ModelError::file(path, format!("{error}; fix: take the config.json that belongs to the weights"))
        })?;
        let config = published.check().map_err(|problem| ModelError::file(path, problem))?;
        config.validate().map_err(|problem| ModelError::file(path, problem))?;
        Ok(config)
    }

    /// Fails, naming the key, where the sizes make no network.
    pub(crate) fn validate(&self) -> std::result::Result<(), String> {
        for (key, value) in [
            ("vocab_size", self.vocab_size),
            ("embedding_size", self.embedding_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            if value == 0 {
                return Err(format!("`{key}` = 0; fix: give 1 or more"));
            }
        }
        let (size, heads) = (self.hidden_size, self.num_attention_heads);
        if !size.is_multiple_of(heads) {
            return Err(format!("`num_attention_heads` = {heads} does not divide `hidden_size` = {size}"));
        }
        if self.max_tokens() == 0 {
            let rows = self.max_position_embeddings;
            return Err(format!("`max_position_embeddings` = {rows} leaves no position for a token"));
        }
        if self.architecture != Architecture::Albert && self.embedding_size != self.hidden_size {
            return Err(format!("`embedding_size` = {}: only ALBERT has one", self.embedding_size));
        }
        match self.layer_norm_eps {
            epsilon if epsilon > 0.0 && epsilon.is_finite() => Ok(()),
            epsilon => Err(format!("`layer_norm_eps` = {epsilon}; fix: give a number above 0")),
        }
    }

    pub(crate) fn architecture_name(&self) -> &'static str {
        self.architecture.class()
    }

    /// Position of the first token. RoBERTa counts from `pad_token_id + 1`
    /// (`create_position_ids_from_input_ids` of `transformers`; a ragged batch holds no padding).
    pub(crate) fn first_position(&self) -> usize {
        match self.architecture {
            Architecture::Bert | Architecture::Albert => 0,
            Architecture::Roberta | Architecture::XlmRoberta => self.pad_token_id as usize + 1,
        }
    }

    /// Tokens of the longest sentence that has a position for each.
    pub fn max_tokens(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position())
    }

    /// The `config.json` that `transformers` reads.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!(self);
        json["architectures"] = serde_json::json!([self.architecture.class()]);
        if self.architecture == Architecture::Albert {
            json["num_hidden_groups"] = 1.into();
            json["inner_group_num"] = 1.into();
        } else if let Some(keys) = json.as_object_mut() {
            keys.remove("embedding_size");
        }
        json["position_embedding_type"] = "absolute".into();
        json["torch_dtype"] = "float32".into();
        json
    }
}

impl Published {
    fn check(self) -> std::result::Result<TransformerConfig, String> {
        let architecture = self.architecture()?;
        let is_albert = architecture == Architecture::Albert;
        for (key, value) in
            [("num_hidden_groups", self.num_hidden_groups), ("inner_group_num", self.inner_group_num)]
        {
            if is_albert && value.is_some_and(|value| value != 1) {
                return Err(format!("`{key}` = {value:?}; fix: use an ALBERT with one group of one layer"));
            }
        }
        if let Some(kind) = self.position_embedding_type.filter(|kind| kind != "absolute") {
            return Err(format!("`position_embedding_type` = {kind:?}; fix: use a model with \"absolute\""));
        }
        if self.is_decoder == Some(true) {
            return Err("`is_decoder` = true; fix: use an encoder".to_owned());
        }
        let activation = serde_json::Value::from(self.hidden_act.as_str());
        let hidden_act = serde_json::from_value(activation).map_err(|_| {
            let known = "gelu, gelu_new, gelu_pytorch_tanh, relu";
            format!("`hidden_act` = {:?} is unknown; fix: use a model with one of {known}", self.hidden_act)
        })?;
        let embedding_size = match (is_albert, self.embedding_size) {
            (true, None) => return Err("missing field `embedding_size`, which ALBERT needs".to_owned()),
            (true, Some(size)) => size,
            (false, _) => self.hidden_size,
        };
        Ok(TransformerConfig {
            architecture,
            vocab_size: self.vocab_size,
            embedding_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            hidden_act,
            max_position_embeddings: self.max_position_embeddings,
            type_vocab_size: self.type_vocab_size.unwrap_or(2),
            layer_norm_eps: self.layer_norm_eps.unwrap_or(1e-12),
            pad_token_id: self.pad_token_id.unwrap_or(architecture.default_pad_token_id()),
        })
    }

    /// `model_type` decides; files from before it existed have only `architectures`, or nothing.
    fn architecture(&self) -> std::result::Result<Architecture, String> {
        let known = "bert, albert, roberta, xlm-roberta";
        if let Some(name) = &self.model_type {
            return Architecture::of(name).ok_or_else(|| {
                format!("`model_type` = {name:?} is unknown; fix: use a model of one of the types {known}")
            });
        }
        let class = self.architectures.iter().flatten().next();
        let families = [
            ("XLMRoberta", Architecture::XlmRoberta),
            ("Roberta", Architecture::Roberta),
            ("Albert", Architecture::Albert),
            ("Bert", Architecture::Bert),
        ];
        let family = class.and_then(|class| families.iter().find(|(name, _)| class.starts_with(name)));
        family.map(|(_, architecture)| *architecture).ok_or_else(|| {
            format!("neither `model_type` nor `architectures` says what it is; fix: add model_type, one of {known}")
        })
    }
}
