//! Which loss, with which constants. There are no defaults: each of these changes a result.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::{LossError, Result, Similarity};

/// Beyond these bounds float32 logits lose the differences that the loss lives on.
const TEMPERATURES: RangeInclusive<f64> = 1e-4..=1e4;

/// The loss of an experiment: the `[loss]` table of its TOML file, chosen by `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossConfig {
    /// `kind = "info_nce"`.
    InfoNce(InfoNceConfig),
}

impl LossConfig {
    /// Fails on the first value out of range; the message names the key.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::InfoNce(config) => config.validate(),
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
}

impl InfoNceConfig {
    /// Fails if the temperature is not a number from 0.0001 to 10000.
    pub fn validate(&self) -> Result<()> {
        if TEMPERATURES.contains(&self.temperature) {
            return Ok(());
        }
        Err(LossError::Config {
            key: "temperature",
            value: self.temperature.to_string(),
            problem: "not between 0.0001 and 10000",
            fix: "take a value in that range, such as 0.05 for cosine",
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
        let LossConfig::InfoNce(info_nce) = &config;
        assert_eq!(info_nce.candidates, Candidates::BothViews);
        assert!(info_nce.symmetric);
        assert_eq!(info_nce.similarity, Similarity::Cosine);
        assert_eq!(info_nce.temperature, 0.05);
        config.validate().unwrap();
        assert_eq!(toml::from_str::<LossConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
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
        let message = toml::from_str::<LossConfig>(&format!("{GOOD}\nmargin = 0.1")).unwrap_err().to_string();
        assert!(message.contains("margin"), "{message}");
        let message = toml::from_str::<LossConfig>(&GOOD.replace("2n-1", "2n")).unwrap_err().to_string();
        assert!(message.contains("2n-1"), "{message}");
    }

    #[test]
    fn a_temperature_out_of_range_is_named() {
        for temperature in ["0.0", "-0.05", "nan", "inf", "1e-5", "1e5"] {
            let config: LossConfig = toml::from_str(&GOOD.replace("0.05", temperature)).unwrap();
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains("temperature = ") && message.contains("fix: "), "{message}");
        }
        let whole: LossConfig = toml::from_str(&GOOD.replace("0.05", "1")).unwrap();
        whole.validate().unwrap();
    }
}
