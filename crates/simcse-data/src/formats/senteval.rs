//! SentEval folders: `STS.input.NAME.txt` (`s1⇥s2`) beside `STS.gs.NAME.txt` (one score a line, blank where
//! a pair was not annotated).

use super::{Parsed, ReadOptions, Rows, numbered, parse_score, remark};
use crate::error::{DataError, Result};
use crate::rows::ScoredPair;
use crate::text::clean;

/// Joins the sentences of one subset with their gold scores; pairs with a blank score are left out.
///
/// # Errors
/// [`DataError::Format`] if the files differ in their number of lines, a row has fewer than two sentences or
/// a score is bad; [`DataError::Empty`] if no pair is scored.
pub fn read(input: (&str, &str), gold: (&str, &str), options: ReadOptions<'_>) -> Result<Parsed> {
    let ((input_file, input_text), (gold_file, gold_text)) = (input, gold);
    let (inputs, golds) = (input_text.lines().count(), gold_text.lines().count());
    if inputs != golds {
        let problem = format!("{golds} scores for the {inputs} pairs of {input_file}");
        return Err(DataError::format(
            gold_file,
            golds.min(inputs) + 1,
            problem,
            "download both files again",
        ));
    }
    let mut pairs = Vec::new();
    let mut unscored = 0;
    for ((line, row), gold) in numbered(input_text).zip(gold_text.lines()) {
        let gold = clean(gold);
        if gold.is_empty() {
            unscored += 1;
            continue;
        }
        let mut fields = row.split('\t').map(clean);
        let (Some(first), Some(second)) = (fields.next(), fields.next()) else {
            return Err(DataError::format(
                input_file,
                line,
                "1 column instead of 2",
                "separate the sentences by a tab",
            ));
        };
        let score = parse_score(gold_file, line, gold, options.scale)?;
        pairs.push(ScoredPair { first: first.to_owned(), second: second.to_owned(), score });
    }
    if pairs.is_empty() {
        return Err(DataError::Empty { file: gold_file.to_owned() });
    }
    let mut remarks = Vec::new();
    remark(&mut remarks, unscored, "pairs without a gold score left out");
    Ok(Parsed { rows: Rows::Pairs(pairs), dropped: unscored, remarks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_both(input: &str, gold: &str) -> Result<Parsed> {
        read(
            ("input", input),
            ("gs", gold),
            ReadOptions { scale: Some([0.0, 5.0]), ..ReadOptions::default() },
        )
    }

    #[test]
    fn unscored_pairs_are_left_out_and_the_others_stay_aligned() {
        let parsed = read_both("a\tb\r\nc\td\ne\tf\n", "1.5\r\n\n5\n").unwrap();
        let pair = |first: &str, second: &str, score| ScoredPair {
            first: first.into(),
            second: second.into(),
            score,
        };
        assert_eq!(parsed.rows, Rows::Pairs(vec![pair("a", "b", 1.5), pair("e", "f", 5.0)]));
        assert_eq!(
            (parsed.dropped, parsed.remarks),
            (1, vec!["1 pairs without a gold score left out".to_owned()])
        );
    }

    #[test]
    fn bad_files_name_their_line() {
        let error = |input, gold| read_both(input, gold).unwrap_err().to_string();
        assert!(error("a\tb\nc\td\n", "1\n").starts_with("gs:2: 1 scores for the 2 pairs of input; fix: "));
        assert!(error("a b\n", "1\n").starts_with("input:1: 1 column instead of 2; fix: "));
        assert!(error("a\tb\n", "x\n").starts_with("gs:1: label `x` is no number; fix: "));
        assert!(error("a\tb\n", "\n").starts_with("gs: no rows; fix: "));
    }
}
