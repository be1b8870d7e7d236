//! One sentence a line.

use super::{Parsed, ReadOptions, Rows, numbered, remark};
use crate::error::{DataError, Result};
use crate::text::clean;

/// Reads sentences; blank lines are skipped.
///
/// # Errors
/// [`DataError::Empty`] if no line has text.
pub fn read(file: &str, text: &str, options: ReadOptions<'_>) -> Result<Parsed> {
    let mut remarks = Vec::new();
    let mut text = text;
    if options.cut_last_line && !text.ends_with('\n') {
        text = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        remarks.push("the last line is cut and was left out".to_owned());
    }
    let mut blank = 0;
    let mut sentences = Vec::new();
    for (_, line) in numbered(text) {
        match clean(line) {
            "" => blank += 1,
            sentence => sentences.push(sentence.to_owned()),
        }
    }
    if sentences.is_empty() {
        return Err(DataError::Empty { file: file.to_owned() });
    }
    remark(&mut remarks, blank, "blank lines skipped");
    Ok(Parsed { rows: Rows::Sentences(sentences), dropped: 0, remarks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str, cut_last_line: bool) -> (Vec<String>, Vec<String>) {
        let parsed = read("f", text, ReadOptions { cut_last_line, ..ReadOptions::default() }).unwrap();
        let Rows::Sentences(sentences) = parsed.rows else { panic!("{:?}", parsed.rows) };
        (sentences, parsed.remarks)
    }

    #[test]
    fn line_ends_blanks_and_marks_are_cleaned() {
        let (sentences, remarks) = sentences("\u{feff}一 \r\n\r\n\t二\n三", false);
        assert_eq!(sentences, ["一", "二", "三"]);
        assert_eq!(remarks, ["1 blank lines skipped"]);
    }

    #[test]
    fn a_cut_last_line_is_dropped_only_where_it_is_known() {
        assert_eq!(sentences("whole\ncu", false).0, ["whole", "cu"]);
        let (cut, remarks) = sentences("whole\ncu", true);
        assert_eq!(cut, ["whole"]);
        assert_eq!(remarks, ["the last line is cut and was left out"]);
        assert_eq!(sentences("whole\nline\n", true).0, ["whole", "line"]);
    }
}
