//! Readers of published formats. Each takes decoded text (or a file, where the format is binary) and gives
//! rows with remarks on what it dropped; a row it cannot read is an error with file and line.

mod named;

pub mod csv;
pub mod double_bar;
pub mod jsonl;
pub mod lines;
pub mod parquet;
pub mod senteval;
pub mod tsv;

use crate::error::{DataError, Result};
use crate::rows::{NliPair, ScoredPair, Triplet};
use serde::{Deserialize, Serialize};

/// A format by name, as the catalogue uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One sentence a line.
    Lines,
    /// Tab-separated pairs, with a header or without; two columns are unlabelled pairs.
    Tsv,
    /// The tab-separated file of STS-B without header or quoting: score is field 5, sentences 6 and 7.
    StsbCsv,
    /// `id||sentence||sentence||score`.
    DoubleBar,
    /// CSV with header and quoting: triplets or pairs, by the names of the columns.
    Csv,
    /// One JSON object a line: pairs, labelled NLI or triplets, by the names of the fields.
    Jsonl,
    /// Parquet: pairs, labelled NLI or triplets, by the names of the columns.
    Parquet,
    /// A folder with `STS.input.NAME.txt` and `STS.gs.NAME.txt`.
    Senteval,
}

/// Rows of one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    /// Scored pairs.
    Pairs(Vec<ScoredPair>),
    /// Pairs without a label: two sentences each, in order.
    UnlabelledPairs(Vec<(String, String)>),
    /// Sentences.
    Sentences(Vec<String>),
    /// Labelled premises and hypotheses.
    Nli(Vec<NliPair>),
    /// Triplets.
    Triplets(Vec<Triplet>),
}

impl Rows {
    /// What the rows are, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pairs(_) => "scored pairs",
            Self::UnlabelledPairs(_) => "unlabelled pairs",
            Self::Sentences(_) => "sentences",
            Self::Nli(_) => "labelled NLI pairs",
            Self::Triplets(_) => "triplets",
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Pairs(rows) => rows.len(),
            Self::UnlabelledPairs(rows) => rows.len(),
            Self::Sentences(rows) => rows.len(),
            Self::Nli(rows) => rows.len(),
            Self::Triplets(rows) => rows.len(),
        }
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends rows of the same kind; gives the others back if their kind differs.
    pub(crate) fn append(&mut self, other: Self) -> std::result::Result<(), Self> {
        match (self, other) {
            (Self::Pairs(rows), Self::Pairs(more)) => rows.extend(more),
            (Self::UnlabelledPairs(rows), Self::UnlabelledPairs(more)) => rows.extend(more),
            (Self::Sentences(rows), Self::Sentences(more)) => rows.extend(more),
            (Self::Nli(rows), Self::Nli(more)) => rows.extend(more),
            (Self::Triplets(rows), Self::Triplets(more)) => rows.extend(more),
            (_, other) => return Err(other),
        }
        Ok(())
    }
}

/// What a reader gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// Usable rows.
    pub rows: Rows,
    /// Rows that the format says to leave out (no gold label, marked as missing).
    pub dropped: usize,
    /// What was dropped or is unusual, one line each.
    pub remarks: Vec<String>,
}

/// What a reader needs to know of the data set besides the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// Smallest and largest legal score; anything outside is an error.
    pub scale: Option<[f32; 2]>,
    /// Rows with this sentence are dropped (PAWS-X writes `NS` where a translation is missing).
    pub drop_sentence: Option<&'a str>,
    /// The file is known to be cut: its last line, if it does not end in a line break, is dropped.
    pub cut_last_line: bool,
}

/// The number in a score field.
///
/// # Errors
/// [`DataError::Format`] if it is no finite number or lies outside the scale.
pub(crate) fn parse_score(file: &str, line: usize, field: &str, scale: Option<[f32; 2]>) -> Result<f32> {
    let fix = "correct or remove the row, or check that the columns are in the expected order";
    let score: f32 = field
        .parse()
        .ok()
        .filter(|score: &f32| score.is_finite())
        .ok_or_else(|| DataError::format(file, line, format!("label `{field}` is no number"), fix))?;
    match scale {
        Some([low, high]) if score < low || score > high => {
            Err(DataError::format(file, line, format!("label {field} is outside {low} to {high}"), fix))
        }
        _ => Ok(score),
    }
}

/// `count` things, if there are any, as a remark.
pub(crate) fn remark(remarks: &mut Vec<String>, count: usize, what: &str) {
    if count > 0 {
        remarks.push(format!("{count} {what}"));
    }
}

/// Lines with their number from 1, without line ends (`\n` or `\r\n`).
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}
