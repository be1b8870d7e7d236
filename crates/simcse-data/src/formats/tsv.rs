//! Tab-separated pairs. There is no quoting: quotation marks are text.

use super::{Parsed, ReadOptions, Rows, numbered, parse_score, remark};
use crate::error::{DataError, Result};
use crate::rows::ScoredPair;
use crate::text::clean;

/// Which fields hold what, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// First sentence.
    pub first: usize,
    /// Second sentence.
    pub second: usize,
    /// Score; `None` in unlabelled files.
    pub score: Option<usize>,
}

/// STS-B: genre, file, year, id, score, first, second, and on some rows licences.
pub const STSB: Columns = Columns { first: 5, second: 6, score: Some(4) };

const FIRST: [&str; 5] = ["sentence1", "sentence_A", "text1", "s1", "first"];
const SECOND: [&str; 5] = ["sentence2", "sentence_B", "text2", "s2", "second"];
const SCORE: [&str; 4] = ["label", "score", "relatedness_score", "similarity"];

/// Reads pairs; columns are taken from a header with known names, or else are `s1⇥s2⇥label` or `s1⇥s2`.
///
/// # Errors
/// [`DataError::Format`] on a row with too few columns or a label that is no number or out of scale;
/// [`DataError::Empty`] without rows.
pub fn read(file: &str, text: &str, options: ReadOptions<'_>) -> Result<Parsed> {
    let head = text.lines().find(|line| !clean(line).is_empty()).unwrap_or("");
    let fields: Vec<&str> = head.split('\t').map(clean).collect();
    let Some(columns) = from_header(&fields) else {
        let columns = from_count(file, &fields)?;
        return read_columns(file, text, columns, 0, options);
    };
    read_columns(file, text, columns, 1, options)
}

/// Reads pairs from known columns, after skipping `header_rows`.
///
/// # Errors
/// As [`read`].
pub fn read_columns(
    file: &str,
    text: &str,
    columns: Columns,
    header_rows: usize,
    options: ReadOptions<'_>,
) -> Result<Parsed> {
    let needed = 1 + columns.first.max(columns.second).max(columns.score.unwrap_or(0));
    let mut reader = Reader { file, columns, options, pairs: Vec::new(), unlabelled: Vec::new(), dropped: 0 };
    let (mut extra, mut blank, mut headers_left) = (0, 0, header_rows);
    for (line, row) in numbered(text) {
        if clean(row).is_empty() {
            blank += 1;
            continue;
        }
        if headers_left > 0 {
            headers_left -= 1;
            continue;
        }
        let fields: Vec<&str> = row.split('\t').map(clean).collect();
        if fields.len() < needed {
            return Err(too_few(file, text, line, fields.len(), needed));
        }
        extra += usize::from(header_rows == 0 && fields.len() > needed);
        reader.push(line, &fields)?;
    }
    reader.finish(extra, blank)
}

fn too_few(file: &str, text: &str, line: usize, found: usize, needed: usize) -> DataError {
    let is_cut = line == text.lines().count() && !text.ends_with('\n');
    let fix = if is_cut {
        "the file seems cut short: download it again"
    } else {
        "give the row its columns, separated by tabs"
    };
    DataError::format(file, line, format!("{found} columns instead of {needed}"), fix)
}

struct Reader<'a> {
    file: &'a str,
    columns: Columns,
    options: ReadOptions<'a>,
    pairs: Vec<ScoredPair>,
    unlabelled: Vec<(String, String)>,
    dropped: usize,
}

impl Reader<'_> {
    fn push(&mut self, line: usize, fields: &[&str]) -> Result<()> {
        let (first, second) = (fields[self.columns.first], fields[self.columns.second]);
        if self.options.drop_sentence.is_some_and(|marker| first == marker || second == marker) {
            self.dropped += 1;
            return Ok(());
        }
        let (first, second) = (first.to_owned(), second.to_owned());
        match self.columns.score {
            Some(column) => {
                let score = parse_score(self.file, line, fields[column], self.options.scale)?;
                self.pairs.push(ScoredPair { first, second, score });
            }
            None => self.unlabelled.push((first, second)),
        }
        Ok(())
    }

    fn finish(self, extra: usize, blank: usize) -> Result<Parsed> {
        let mut remarks = Vec::new();
        remark(&mut remarks, blank, "blank lines skipped");
        remark(&mut remarks, extra, "rows with extra columns, which were ignored");
        if let Some(marker) = self.options.drop_sentence {
            remark(&mut remarks, self.dropped, &format!("rows with a sentence `{marker}` dropped"));
        }
        let rows = match self.columns.score {
            Some(_) => Rows::Pairs(self.pairs),
            None => Rows::UnlabelledPairs(self.unlabelled),
        };
        if rows.is_empty() {
            return Err(DataError::Empty { file: self.file.to_owned() });
        }
        Ok(Parsed { rows, dropped: self.dropped, remarks })
    }
}

fn from_header(fields: &[&str]) -> Option<Columns> {
    let find = |names: &[&str]| {
        fields.iter().position(|field| names.iter().any(|name| name.eq_ignore_ascii_case(field)))
    };
    Some(Columns { first: find(&FIRST)?, second: find(&SECOND)?, score: find(&SCORE) })
}

fn from_count(file: &str, fields: &[&str]) -> Result<Columns> {
    let pairs = Columns { first: 0, second: 1, score: None };
    match fields.len() {
        0 | 1 => Err(DataError::format(
            file,
            1,
            "1 column instead of 2 or 3",
            "separate sentences and label by tabs, or give a file of sentences the extension .txt",
        )),
        2 => Ok(pairs),
        _ => Ok(Columns { score: Some(2), ..pairs }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str, options: ReadOptions<'_>) -> (Vec<ScoredPair>, Parsed) {
        let parsed = read("file.tsv", text, options).unwrap();
        let Rows::Pairs(pairs) = parsed.rows.clone() else { panic!("{:?}", parsed.rows) };
        (pairs, parsed)
    }

    fn pair(first: &str, second: &str, score: f32) -> ScoredPair {
        ScoredPair { first: first.to_owned(), second: second.to_owned(), score }
    }

    fn error(text: &str) -> String {
        let options = ReadOptions { scale: Some([0.0, 1.0]), ..ReadOptions::default() };
        read("file.tsv", text, options).unwrap_err().to_string()
    }

    #[test]
    fn three_columns_without_header_survive_the_traps() {
        let text = "\u{feff}甲\t乙\t1\r\n 甲\"一\t\u{feff}乙\"\t0 \n\n丙\t丁\t1\textra\tmore";
        let (pairs, parsed) = pairs(text, ReadOptions::default());
        assert_eq!(pairs, [pair("甲", "乙", 1.0), pair("甲\"一", "乙\"", 0.0), pair("丙", "丁", 1.0)]);
        assert_eq!(
            parsed.remarks,
            ["1 blank lines skipped", "1 rows with extra columns, which were ignored"]
        );
    }

    #[test]
    fn a_header_names_the_columns_in_any_order() {
        let options = ReadOptions { drop_sentence: Some("NS"), ..ReadOptions::default() };
        let text = "id\tsentence1\tsentence2\tlabel\n1\ta\tb\t1\n2\tNS\tb\t0\n3\ta\tNS\t0\n";
        let (found, parsed) = pairs(text, options);
        assert_eq!((found, parsed.dropped), (vec![pair("a", "b", 1.0)], 2));
        assert_eq!(parsed.remarks, ["2 rows with a sentence `NS` dropped"]);
        let sick =
            "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n4\ta\tb\t3.6\tX\n";
        assert_eq!(pairs(sick, ReadOptions::default()).0, [pair("a", "b", 3.6)]);
    }

    #[test]
    fn two_columns_are_unlabelled_pairs() {
        let parsed = read("f", "a\tb\nc\td\n", ReadOptions::default()).unwrap();
        let expected = vec![("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())];
        assert_eq!(parsed.rows, Rows::UnlabelledPairs(expected));
    }

    #[test]
    fn stsb_has_no_quoting_and_ragged_rows() {
        let text = "g\tf\ty\t1\t4.750\ta \"quoted\tb\"\ng\tf\ty\t2\t0\t\"c\td\tlicence\tlicence\n";
        let parsed = read_columns("sts.csv", text, STSB, 0, ReadOptions::default()).unwrap();
        assert_eq!(parsed.rows, Rows::Pairs(vec![pair("a \"quoted", "b\"", 4.75), pair("\"c", "d", 0.0)]));
    }

    #[test]
    fn bad_rows_name_file_line_and_mend() {
        assert_eq!(
            error("a\tb\t1\nc\td\tja\n"),
            "file.tsv:2: label `ja` is no number; fix: correct or remove the row, or check that the columns are \
             in the expected order"
        );
        assert!(error("a\tb\t1\nc\td\tNaN\n").contains("file.tsv:2: label `NaN` is no number"));
        assert!(error("a\tb\t1\nc\td\t2\n").contains("file.tsv:2: label 2 is outside 0 to 1"));
        assert!(error("a\tb\t1\n\nc\td\n").contains("file.tsv:3: 2 columns instead of 3; fix: give the row"));
        assert!(
            error("a\tb\t1\nc\td").contains("file.tsv:2: 2 columns instead of 3; fix: the file seems cut")
        );
        assert!(error("only one\n").contains("file.tsv:1: 1 column instead of 2 or 3"));
        assert!(error("sentence1\tsentence2\tlabel\n").contains("file.tsv: no rows"));
    }
}
