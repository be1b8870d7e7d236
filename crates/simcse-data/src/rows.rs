//! The kinds of rows that data sets hold.

use crate::error::DataError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Two sentences and how similar they are, on the data set's own scale (0 or 1, 0 to 5, 1 to 5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredPair {
    /// First sentence, trimmed.
    pub first: String,
    /// Second sentence, trimmed.
    pub second: String,
    /// Gold similarity; always finite.
    pub score: f32,
}

/// An anchor, a sentence that means the same, and possibly one that looks alike but does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triplet {
    /// Premise.
    pub anchor: String,
    /// Entailed sentence.
    pub positive: String,
    /// Contradicting sentence.
    pub hard_negative: Option<String>,
}

/// Label of a natural-language-inference pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NliLabel {
    /// The hypothesis follows from the premise.
    Entailment,
    /// It may be true or not.
    Neutral,
    /// It cannot be true.
    Contradiction,
}

/// A labelled premise and hypothesis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NliPair {
    /// First sentence.
    pub premise: String,
    /// Second sentence.
    pub hypothesis: String,
    /// Their relation.
    pub label: NliLabel,
}

/// Part of a data set: train on `train`, select on `dev`, report on `test`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For training.
    Train,
    /// For selection.
    Dev,
    /// For the final score.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        match name {
            "train" => Ok(Self::Train),
            "dev" => Ok(Self::Dev),
            "test" => Ok(Self::Test),
            _ => Err(DataError::UnknownName {
                kind: "split",
                name: name.to_owned(),
                known: "train, dev, test".to_owned(),
            }),
        }
    }
}
