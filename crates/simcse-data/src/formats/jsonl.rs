//! One JSON object a line (`.jsonl`, `.json`, also gzipped): pairs, labelled NLI or triplets.

use super::named::{Collector, Record};
use super::{Parsed, ReadOptions, numbered};
use crate::error::{DataError, Result};
use crate::text::clean;

/// Reads rows of the kind that the fields of the first one name. A label `-` (no gold) drops the row.
///
/// # Errors
/// [`DataError::Format`] on a line that is no JSON object or lacks a field.
pub fn read(file: &str, text: &str, options: ReadOptions<'_>) -> Result<Parsed> {
    let mut collector = Collector::new(file, options, None);
    for (line, row) in numbered(text).map(|(line, row)| (line, clean(row))).filter(|(_, row)| !row.is_empty())
    {
        let record: Record = serde_json::from_str(row).map_err(|error| {
            let problem = format!("no JSON object ({error})");
            DataError::format(
                file,
                line,
                problem,
                "write one JSON object per line, or download the file again",
            )
        })?;
        collector.push(line, &record)?;
    }
    collector.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Rows;
    use crate::rows::{NliLabel, NliPair, ScoredPair};

    #[test]
    fn nli_rows_without_gold_are_dropped_and_counted() {
        let text = "{\"sentence1\":\"a\",\"sentence2\":\" b \",\"label\":\"-\",\"id\":1}\n\
                    {\"sentence1\":\"a\",\"sentence2\":\" b \",\"label\":\"contradiction\"}\r\n\n";
        let parsed = read("f", text, ReadOptions::default()).unwrap();
        let pair = NliPair { premise: "a".into(), hypothesis: "b".into(), label: NliLabel::Contradiction };
        assert_eq!((parsed.rows, parsed.dropped), (Rows::Nli(vec![pair]), 1));
        assert_eq!(parsed.remarks, ["1 rows without a gold label dropped"]);
    }

    #[test]
    fn numbers_are_scores() {
        let text = "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"score\":2.25}\n";
        let pair = ScoredPair { first: "a".into(), second: "b".into(), score: 2.25 };
        assert_eq!(read("f", text, ReadOptions::default()).unwrap().rows, Rows::Pairs(vec![pair]));
    }

    #[test]
    fn bad_rows_name_their_line() {
        let error = |text: &str| read("f", text, ReadOptions::default()).unwrap_err().to_string();
        let good = "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":\"neutral\"}\n";
        assert!(error(&format!("{good}{{\"sentence1\":\"a")).starts_with("f:2: no JSON object (EOF"));
        assert!(
            error(&good.replace("neutral", "maybe").replace('\n', ""))
                .starts_with("f:1: label `maybe` is no")
        );
        let unknown = good.replace("neutral", "maybe");
        assert!(error(&format!("{good}{unknown}")).starts_with("f:2: unknown NLI label `maybe`; fix: "));
        assert!(error("[1, 2]\n").starts_with("f:1: no JSON object"));
    }
}
