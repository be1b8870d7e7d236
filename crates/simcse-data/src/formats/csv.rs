//! CSV with a header and quoting: triplets (`sent0,sent1,hard_neg` or `anchor,entailment,contradiction`) and
//! pairs (`sentence1,sentence2,score`).

use super::named::{Collector, Record};
use super::{Parsed, ReadOptions};
use crate::error::{DataError, Result};
use crate::text::clean;
use serde_json::Value;

/// Reads rows of the kind that the header names.
///
/// # Errors
/// [`DataError::Format`] if the header has no known columns, a row has too few, a score is no number, or a
/// quoted field goes over several lines (a quotation mark that is never closed swallows the rest of a file).
pub fn read(file: &str, text: &str, options: ReadOptions<'_>) -> Result<Parsed> {
    let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let fail = |error: ::csv::Error| {
        let line = error.position().map_or(1, |position| position.line() as usize);
        DataError::format(file, line, error.to_string(), "write the row as CSV")
    };
    let names: Vec<String> =
        reader.headers().map_err(fail)?.iter().map(|name| clean(name).to_owned()).collect();
    let mut collector = Collector::new(file, options, None);
    for row in reader.records() {
        let row = row.map_err(fail)?;
        let line = row.position().map_or(0, |position| position.line() as usize);
        if row.iter().any(|field| field.contains('\n')) {
            let problem = "a quoted field goes over several lines";
            return Err(DataError::format(file, line, problem, "close or double the quotation mark"));
        }
        let fields = row.iter().map(|field| Value::String(field.to_owned()));
        let record: Record = names.iter().cloned().zip(fields).collect();
        collector.push(line, &record)?;
    }
    collector.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Rows;
    use crate::rows::{ScoredPair, Triplet};

    fn triplet(anchor: &str, positive: &str, hard_negative: Option<&str>) -> Triplet {
        let hard_negative = hard_negative.map(str::to_owned);
        Triplet { anchor: anchor.into(), positive: positive.into(), hard_negative }
    }

    fn rows(text: &str) -> Rows {
        read("f.csv", text, ReadOptions::default()).unwrap().rows
    }

    #[test]
    fn triplets_by_either_set_of_names() {
        let expected = Rows::Triplets(vec![triplet("a, \"b\"", "c", Some("d"))]);
        assert_eq!(rows("sent0,sent1,hard_neg\r\n\"a, \"\"b\"\"\",c, d \r\n"), expected);
        assert_eq!(rows("\u{feff}anchor,entailment,contradiction\n\"a, \"\"b\"\"\",c,d\n"), expected);
        assert_eq!(rows("sent0,sent1\na,b\n"), Rows::Triplets(vec![triplet("a", "b", None)]));
    }

    #[test]
    fn pairs_and_stray_quotes_inside_a_field() {
        let pair = ScoredPair { first: "say \"a".into(), second: "b".into(), score: 2.5 };
        assert_eq!(rows("score,sentence1,sentence2,more\n2.5,say \"a,b,x\n"), Rows::Pairs(vec![pair]));
    }

    #[test]
    fn bad_rows_name_their_line() {
        let error = |text| read("f.csv", text, ReadOptions::default()).unwrap_err().to_string();
        assert!(
            error("sent0,sent1,hard_neg\na,b,c\na,b\n").starts_with("f.csv:3: field `hard_neg` is missing")
        );
        assert!(error("a,b\n1,2\n").starts_with("f.csv:2: no known field among `a, b`; fix: "));
        assert!(error("sent0,sent1\na,b\n\"c,d\ne,f\n").starts_with("f.csv:3: a quoted field goes over"));
        assert!(error("sent0,sent1\n").starts_with("f.csv: no rows"));
    }
}
