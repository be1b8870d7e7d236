//! Which loss, with which constants. There are no defaults: each of these changes a result.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::{BatchCentresConfig, DistillationConfig, LossError, MarginSoftmaxConfig, Result, Similarity};

/// Beyond these bounds float32 logits lose the differences that the loss lives on. They serve for scales,
/// which are inverse temperatures, as well.
pub(crate) const TEMPERATURES: RangeInclusive<f64> = 1e-4..=1e4;

/// The loss of an experiment: the `[loss]` table of its TOML file, chosen by `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossConfig {
    /// `kind = "info_nce"`.
    InfoNce(InfoNceConfig),
    /// `kind = "cosent"`.
    Cosent(CosentConfig),
    /// `kind = "margin_softmax"`.
    MarginSoftmax(MarginSoftmaxConfig),
    /// `kind = "batch_centres"`.
    BatchCentres(BatchCentresConfig),
    /// `kind = "distillation"`.
    Distillation(DistillationConfig),
}

impl LossConfig {
    /// Fails on the first value out of range; the message names the key.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::InfoNce(config) => config.validate(),
            Self::Cosent(config) => config.validate(),
            Self::MarginSoftmax(config) => config.validate(),
            Self::BatchCentres(config) => config.validate(),
            Self::Distillation(config) => config.validate(),
        }
    }
}

/// Constants of [`info_nce`](crate::info_nce()).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfoNceConfig {
    /// What an anchor is compared with.
    pub candidates: Candidates,
    /// Whether the second view's sentences are anchors too.
    pub symmetric: bool,
    /// How two embeddings are compared.
    pub similarity: Similarity,
    /// Divides the similarity before the softmax, once. Gao et al. 2021: 0.05.
    pub temperature: f64,
    /// Taken off the similarity of an anchor and its positive before the softmax: AM-Softmax among the candidates of a
    /// batch (Wang et al. 2018, equation 6; Yang et al. 2019, equation 4); left out: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Both views of a sentence have the same dropout mask (Gao et al. 2021, table 3, "fixed 0.1"): it is embedded once and
    /// stands for both.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_dropout_mask: bool,
    /// Weight of an anchor's own hard negative ([`HardNegatives::weight`](crate::HardNegatives)), for
    /// triplets; without it there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_negative_weight: Option<f64>,
    /// Negatives from earlier batches; without it there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueConfig>,
}

impl InfoNceConfig {
    /// Fails if the temperature is not a number from 0.0001 to 10000, the weight not a number above 0, or the
    /// queue is wrong.
    pub fn validate(&self) -> Result<()> {
        if !TEMPERATURES.contains(&self.temperature) {
            return Err(LossError::Config {
                key: "temperature",
                value: self.temperature.to_string(),
                problem: "not between 0.0001 and 10000",
                fix: "take a value in that range, such as 0.05 for cosine",
            });
        }
        if let Some(weight) = self.hard_negative_weight
            && !(weight.is_finite() && weight > 0.0)
        {
            return Err(LossError::Config {
                key: "hard_negative_weight",
                value: weight.to_string(),
                problem: "not a number above 0",
                fix: "take 1 to weigh hard negatives like the others (it is no logarithm)",
            });
        }
        if let Some(margin) = self.margin
            && !(0.0..=2.0).contains(&margin)
        {
            return Err(LossError::Config {
                key: "margin",
                value: margin.to_string(),
                problem: "not from 0 to 2",
                fix: "take a difference of cosines such as 0.1, or leave it out",
            });
        }
        if self.shared_dropout_mask && (self.queue.is_some() || self.hard_negative_weight.is_some()) {
            return Err(LossError::Config {
                key: "shared_dropout_mask",
                value: "true".to_owned(),
                problem: "is for two views of a sentence alone",
                fix: "leave out the queue and the weight of hard negatives",
            });
        }
        self.queue.as_ref().map_or(Ok(()), QueueConfig::validate)
    }
}

/// Negatives from earlier batches, embedded by a slowly moving copy of the encoder (ESimCSE, Wu et al.
/// 2022).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Sentences that the queue holds when it is full.
    pub size: usize,
    /// Share of the copy that stays at each step, from 0 (the copy is the encoder) to below 1. The paper:
    /// 0.995.
    pub momentum: f64,
}

impl QueueConfig {
    /// Fails on a queue without room, and on a momentum outside of `[0, 1)`.
    pub fn validate(&self) -> Result<()> {
        if self.size == 0 {
            return Err(LossError::Config {
                key: "queue.size",
                value: self.size.to_string(),
                problem: "no room for a sentence",
                fix: "take a few batches, or leave [loss.queue] out",
            });
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(LossError::Config {
                key: "queue.momentum",
                value: self.momentum.to_string(),
                problem: "not from 0 to below 1",
                fix: "take a value in that range, such as 0.995",
            });
        }
        Ok(())
    }
}

/// Constants of [`cosent`](crate::cosent()).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosentConfig {
    /// Multiplies differences of cosines: an inverse temperature. Su 2022: 20.
    pub scale: f64,
}

impl CosentConfig {
    /// Fails if the scale is not a number from 0.0001 to 10000.
    pub fn validate(&self) -> Result<()> {
        if TEMPERATURES.contains(&self.scale) {
            return Ok(());
        }
        Err(LossError::Config {
            key: "scale",
            value: self.scale.to_string(),
            problem: "not between 0.0001 and 10000",
            fix: "take a value in that range, such as 20",
        })
    }
}

/// The candidates among which an anchor has to find its positive, in a batch of `N` sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Candidates {
    /// The `N` embeddings of the other view: one positive, `N - 1` negatives (Gao et al. 2021,
    /// equation 1; the official code).
    #[serde(rename = "n")]
    OtherView,
    /// All embeddings of both views but the anchor itself: one positive, `2N - 2` negatives (NT-Xent of
    /// Chen et al. 2020).
    #[serde(rename = "2n-1")]
    BothViews,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        kind = "info_nce"
        candidates = "2n-1"
        symmetric = true
        similarity = "cosine"
        temperature = 0.05
    "#;

    #[test]
    fn a_file_says_all_and_comes_back_the_same() {
        let config: LossConfig = toml::from_str(GOOD).unwrap();
        let LossConfig::InfoNce(info_nce) = &config else { panic!("{config:?}") };
        assert_eq!(info_nce.candidates, Candidates::BothViews);
        assert!(info_nce.symmetric);
        assert_eq!(info_nce.similarity, Similarity::Cosine);
        assert_eq!(info_nce.temperature, 0.05);
        assert_eq!((info_nce.hard_negative_weight, &info_nce.queue), (None, &None));
        config.validate().unwrap();
        assert_eq!(toml::from_str::<LossConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    /// Runs are known by the text of their configuration: keys that are not used must not appear in it.
    #[test]
    fn the_text_of_a_file_without_the_optional_keys_does_not_change() {
        let text: String = GOOD.trim_start().lines().map(|line| format!("{}\n", line.trim())).collect();
        let text = text.trim_end().to_owned() + "\n";
        assert_eq!(toml::to_string(&toml::from_str::<LossConfig>(&text).unwrap()).unwrap(), text);
        let json =
            r#"{"kind":"info_nce","candidates":"n","symmetric":false,"similarity":"dot","temperature":1.0}"#;
        let config: LossConfig = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), json);
    }

    #[test]
    fn hard_negatives_queue_and_cosent_come_back_the_same() {
        let text = format!("{GOOD}\nhard_negative_weight = 0.5\n[queue]\nsize = 160\nmomentum = 0.995\n");
        let config: LossConfig = toml::from_str(&text).unwrap();
        let LossConfig::InfoNce(info_nce) = &config else { panic!("{config:?}") };
        assert_eq!(info_nce.hard_negative_weight, Some(0.5));
        assert_eq!(info_nce.queue, Some(QueueConfig { size: 160, momentum: 0.995 }));
        config.validate().unwrap();
        assert_eq!(toml::from_str::<LossConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);

        let cosent: LossConfig = toml::from_str("kind = \"cosent\"\nscale = 20").unwrap();
        assert_eq!(cosent, LossConfig::Cosent(CosentConfig { scale: 20.0 }));
        cosent.validate().unwrap();
        assert_eq!(toml::to_string(&cosent).unwrap(), "kind = \"cosent\"\nscale = 20.0\n");
        for unknown in ["kind = \"cosent\"\nscale = 20\ntemperature = 1", &text.replace("size", "length")] {
            toml::from_str::<LossConfig>(unknown).unwrap_err();
        }
    }

    #[test]
    fn centres_of_the_batch_come_back_the_same() {
        let text = "kind = \"batch_centres\"\nviews = 4\nscale = 20.0\nmargin = 0.1\n";
        let config: LossConfig = toml::from_str(text).unwrap();
        config.validate().unwrap();
        assert_eq!(toml::to_string(&config).unwrap(), text, "without the key that is off");
        let detached: LossConfig = toml::from_str(&format!("{text}detached_centres = true")).unwrap();
        assert!(toml::to_string(&detached).unwrap().contains("detached_centres = true"));
        let equal: LossConfig = toml::from_str(&format!("{text}equal_centres = true")).unwrap();
        assert!(toml::to_string(&equal).unwrap().contains("equal_centres = true"));
        toml::from_str::<LossConfig>(&format!("{text}sub_centres = 1")).unwrap_err();
    }

    #[test]
    fn a_missing_or_an_unknown_key_is_an_error() {
        for key in ["kind", "candidates", "symmetric", "similarity", "temperature"] {
            let without: String = GOOD.lines().filter(|line| !line.contains(&format!("{key} ="))).fold(
                String::new(),
                |mut text, line| {
                    text += line;
                    text.push('\n');
                    text
                },
            );
            let message = toml::from_str::<LossConfig>(&without).unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
        let message =
            toml::from_str::<LossConfig>(&format!("{GOOD}\nmargins = 0.1")).unwrap_err().to_string();
        assert!(message.contains("margins"), "{message}");
        let message = toml::from_str::<LossConfig>(&GOOD.replace("2n-1", "2n")).unwrap_err().to_string();
        assert!(message.contains("2n-1"), "{message}");
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        for temperature in ["0.0", "-0.05", "nan", "inf", "1e-5", "1e5"] {
            let config: LossConfig = toml::from_str(&GOOD.replace("0.05", temperature)).unwrap();
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains("temperature = ") && message.contains("fix: "), "{message}");
        }
        for (right, wrong, key) in [
            ("hard_negative_weight = 1", "hard_negative_weight = 0", "hard_negative_weight = 0:"),
            ("hard_negative_weight = 1", "hard_negative_weight = -1.0", "hard_negative_weight = -1:"),
            ("hard_negative_weight = 1", "hard_negative_weight = inf", "hard_negative_weight = inf:"),
            ("margin = 0.2", "margin = -0.2", "margin = -0.2:"),
            ("margin = 0.2", "margin = nan", "margin = NaN:"),
            ("size = 2", "size = 0", "queue.size = 0:"),
            ("momentum = 0.0", "momentum = 1.0", "queue.momentum = 1:"),
            ("momentum = 0.0", "momentum = nan", "queue.momentum = NaN:"),
        ] {
            let text =
                format!("{GOOD}\nmargin = 0.2\nhard_negative_weight = 1\n[queue]\nsize = 2\nmomentum = 0.0");
            toml::from_str::<LossConfig>(&text).unwrap().validate().unwrap();
            let config: LossConfig = toml::from_str(&text.replace(right, wrong)).unwrap();
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(key) && message.contains("fix: "), "{message}");
        }
        for scale in ["0", "-20.0", "nan", "1e5"] {
            let cosent: LossConfig = toml::from_str(&format!("kind = \"cosent\"\nscale = {scale}")).unwrap();
            let message = cosent.validate().unwrap_err().to_string();
            assert!(message.contains("scale = ") && message.contains("fix: "), "{message}");
        }
        let whole: LossConfig = toml::from_str(&GOOD.replace("0.05", "1")).unwrap();
        whole.validate().unwrap();
    }
}
