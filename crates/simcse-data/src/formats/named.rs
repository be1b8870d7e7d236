//! Rows whose fields have names (CSV with header, JSON, parquet): one place that knows the names in use.

use super::{Parsed, ReadOptions, Rows, parse_score, remark};
use crate::error::{DataError, Result};
use crate::rows::{NliLabel, NliPair, ScoredPair, Triplet};
use crate::text::clean;
use serde_json::{Map, Value};

/// One row by field name.
pub(crate) type Record = Map<String, Value>;

const ANCHOR: [&str; 3] = ["sent0", "anchor", "query"];
const POSITIVE: [&str; 3] = ["sent1", "entailment", "positive"];
const HARD_NEGATIVE: [&str; 4] = ["hard_neg", "contradiction", "hard_negative", "negative"];
const FIRST: [&str; 3] = ["sentence1", "premise", "text1"];
const SECOND: [&str; 3] = ["sentence2", "hypothesis", "text2"];
const LABEL: [&str; 5] = ["score", "label", "gold_label", "similarity", "relatedness_score"];
const SENTENCE: [&str; 2] = ["sentence", "text"];

/// The names under which this file keeps what we want.
enum Layout {
    Triplets { anchor: String, positive: String, hard_negative: Option<String> },
    Pairs { first: String, second: String, score: String },
    Nli { premise: String, hypothesis: String, label: String },
    UnlabelledPairs { first: String, second: String },
    Sentences { sentence: String },
}

/// Gathers rows of the kind that the first one has.
pub(crate) struct Collector<'a> {
    file: &'a str,
    options: ReadOptions<'a>,
    /// Names of integer labels, where the file says them.
    label_names: Option<Vec<String>>,
    layout: Option<Layout>,
    rows: Option<Rows>,
    dropped: usize,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(file: &'a str, options: ReadOptions<'a>, label_names: Option<Vec<String>>) -> Self {
        Self { file, options, label_names, layout: None, rows: None, dropped: 0 }
    }

    /// Adds the row that stands in `line`.
    pub(crate) fn push(&mut self, line: usize, record: &Record) -> Result<()> {
        if self.layout.is_none() {
            self.layout = Some(self.detect(line, record)?);
        }
        let Some(layout) = &self.layout else { return Ok(()) };
        let row = Row { file: self.file, line, record };
        let one = match layout {
            Layout::Triplets { anchor, positive, hard_negative } => Some(Rows::Triplets(vec![Triplet {
                anchor: row.text(anchor)?,
                positive: row.text(positive)?,
                hard_negative: hard_negative.as_deref().map(|name| row.text(name)).transpose()?,
            }])),
            Layout::Pairs { first, second, score } => Some(Rows::Pairs(vec![ScoredPair {
                first: row.text(first)?,
                second: row.text(second)?,
                score: parse_score(self.file, line, &row.scalar(score)?, self.options.scale)?,
            }])),
            Layout::Nli { premise, hypothesis, label } => self
                .nli_label(&row, label)?
                .map(|label| -> Result<Rows> {
                    Ok(Rows::Nli(vec![NliPair {
                        premise: row.text(premise)?,
                        hypothesis: row.text(hypothesis)?,
                        label,
                    }]))
                })
                .transpose()?,
            Layout::UnlabelledPairs { first, second } => {
                Some(Rows::UnlabelledPairs(vec![(row.text(first)?, row.text(second)?)]))
            }
            Layout::Sentences { sentence } => Some(Rows::Sentences(vec![row.text(sentence)?])),
        };
        match (&mut self.rows, one) {
            (_, None) => self.dropped += 1,
            (None, Some(first)) => self.rows = Some(first),
            // The layout is fixed, so the kind cannot differ.
            (Some(rows), Some(more)) => drop(rows.append(more)),
        }
        Ok(())
    }

    /// All rows, or an error if there was none.
    pub(crate) fn finish(self) -> Result<Parsed> {
        let Some(rows) = self.rows else { return Err(DataError::Empty { file: self.file.to_owned() }) };
        let mut remarks = Vec::new();
        remark(&mut remarks, self.dropped, "rows without a gold label dropped");
        Ok(Parsed { rows, dropped: self.dropped, remarks })
    }

    fn detect(&self, line: usize, record: &Record) -> Result<Layout> {
        let find = |names: &[&str]| {
            names.iter().find(|name| record.contains_key(**name)).map(|name| (*name).to_owned())
        };
        if let (Some(anchor), Some(positive)) = (find(&ANCHOR), find(&POSITIVE)) {
            return Ok(Layout::Triplets { anchor, positive, hard_negative: find(&HARD_NEGATIVE) });
        }
        if let (Some(first), Some(second)) = (find(&FIRST), find(&SECOND)) {
            let Some(label) = find(&LABEL) else { return Ok(Layout::UnlabelledPairs { first, second }) };
            return Ok(if self.label_names.is_some() || is_nli_word(&record[&label]) {
                Layout::Nli { premise: first, hypothesis: second, label }
            } else {
                Layout::Pairs { first, second, score: label }
            });
        }
        if let Some(sentence) = find(&SENTENCE) {
            return Ok(Layout::Sentences { sentence });
        }
        let found: Vec<&str> = record.keys().map(String::as_str).collect();
        Err(DataError::format(
            self.file,
            line,
            format!("no known field among `{}`", found.join(", ")),
            "name the fields sentence1, sentence2 and score (pairs), sentence1, sentence2 and label (NLI), \
             anchor, positive and hard_negative (triplets), or sentence",
        ))
    }

    fn nli_label(&self, row: &Row<'_>, field: &str) -> Result<Option<NliLabel>> {
        let mut word = row.scalar(field)?;
        if let Some(names) = &self.label_names {
            match word.parse::<i64>() {
                Ok(-1) => return Ok(None),
                Ok(number) => {
                    let name = usize::try_from(number).ok().and_then(|number| names.get(number));
                    word = name.cloned().unwrap_or(word);
                }
                Err(_) => {}
            }
        }
        nli_word(&word).ok_or_else(|| {
            let fix = "use entailment, neutral, contradiction, or - for no gold label";
            DataError::format(self.file, row.line, format!("unknown NLI label `{word}`"), fix)
        })
    }
}

/// One row with its place, for messages.
struct Row<'a> {
    file: &'a str,
    line: usize,
    record: &'a Record,
}

impl Row<'_> {
    fn text(&self, field: &str) -> Result<String> {
        match self.record.get(field) {
            Some(Value::String(text)) => Ok(clean(text).to_owned()),
            _ => Err(self.error(field)),
        }
    }

    fn scalar(&self, field: &str) -> Result<String> {
        match self.record.get(field) {
            Some(Value::String(text)) => Ok(clean(text).to_owned()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(self.error(field)),
        }
    }

    fn error(&self, field: &str) -> DataError {
        let problem = format!("field `{field}` is missing or of the wrong type");
        DataError::format(self.file, self.line, problem, "complete or remove the row")
    }
}

fn is_nli_word(value: &Value) -> bool {
    matches!(value, Value::String(word) if nli_word(clean(word)).is_some())
}

/// `Some(None)` is the mark for "annotators did not agree".
fn nli_word(word: &str) -> Option<Option<NliLabel>> {
    match word {
        "entailment" => Some(Some(NliLabel::Entailment)),
        "neutral" => Some(Some(NliLabel::Neutral)),
        "contradiction" => Some(Some(NliLabel::Contradiction)),
        "-" => Some(None),
        _ => None,
    }
}
