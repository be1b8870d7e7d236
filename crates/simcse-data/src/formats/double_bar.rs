//! `id||sentence||sentence||score`, as CNSD publishes the Chinese STS-B.

use super::{Parsed, ReadOptions, Rows, numbered, parse_score, remark};
use crate::error::{DataError, Result};
use crate::rows::ScoredPair;
use crate::text::clean;

/// Reads scored pairs; blank lines are skipped, fields beyond the fourth are ignored.
///
/// # Errors
/// [`DataError::Format`] on a row with fewer than four fields or a bad score; [`DataError::Empty`] without
/// rows.
pub fn read(file: &str, text: &str, options: ReadOptions<'_>) -> Result<Parsed> {
    let mut pairs = Vec::new();
    let mut extra = 0;
    for (line, row) in numbered(text).filter(|(_, row)| !clean(row).is_empty()) {
        let fields: Vec<&str> = row.split("||").map(clean).collect();
        let [_, first, second, score, rest @ ..] = fields.as_slice() else {
            let problem = format!("{} fields instead of 4", fields.len());
            return Err(DataError::format(
                file,
                line,
                problem,
                "write the row as id||sentence||sentence||score",
            ));
        };
        extra += usize::from(!rest.is_empty());
        let score = parse_score(file, line, score, options.scale)?;
        pairs.push(ScoredPair { first: (*first).to_owned(), second: (*second).to_owned(), score });
    }
    if pairs.is_empty() {
        return Err(DataError::Empty { file: file.to_owned() });
    }
    let mut remarks = Vec::new();
    remark(&mut remarks, extra, "rows with extra fields, which were ignored");
    Ok(Parsed { rows: Rows::Pairs(pairs), dropped: 0, remarks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cleaned_and_extra_ones_ignored() {
        let parsed = read("f", "1||一个人||两个|人 ||2\r\n2||a||b||5||x\n", ReadOptions::default()).unwrap();
        let pair = |first: &str, second: &str, score| ScoredPair {
            first: first.into(),
            second: second.into(),
            score,
        };
        assert_eq!(parsed.rows, Rows::Pairs(vec![pair("一个人", "两个|人", 2.0), pair("a", "b", 5.0)]));
        assert_eq!(parsed.remarks, ["1 rows with extra fields, which were ignored"]);
    }

    #[test]
    fn bad_rows_name_their_line() {
        let options = ReadOptions { scale: Some([0.0, 5.0]), ..ReadOptions::default() };
        let error = |text| read("f", text, options).unwrap_err().to_string();
        assert!(error("1||a||b||5\n2||a||b\n").starts_with("f:2: 3 fields instead of 4; fix: "));
        assert!(error("1||a||b||6\n").starts_with("f:1: label 6 is outside 0 to 5; fix: "));
    }
}
