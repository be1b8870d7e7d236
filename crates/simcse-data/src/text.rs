//! Cleaning of fields and the key by which two sentences count as the same.

use unicode_normalization::UnicodeNormalization;

/// The field without surrounding blanks and without byte order marks at its ends, which published copies
/// carry in the middle of files. The inside of the sentence stays as it is.
pub(crate) fn clean(field: &str) -> &str {
    field.trim_matches(|character: char| character.is_whitespace() || character == '\u{feff}')
}

/// The key by which two sentences count as the same: trimmed, NFKC (full-width forms fold to half-width),
/// lower case, blanks collapsed to one. An encoder with a lower-casing, normalising tokenizer cannot tell
/// such sentences apart, so as negatives of each other they would be noise, and as training text they would
/// leak a test sentence.
pub fn sentence_key(sentence: &str) -> String {
    let folded: String = clean(sentence).nfkc().flat_map(char::to_lowercase).collect();
    let mut key = String::with_capacity(folded.len());
    for word in folded.split_whitespace() {
        if !key.is_empty() {
            key.push(' ');
        }
        key.push_str(word);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_takes_blanks_and_byte_order_marks_from_the_ends_only() {
        assert_eq!(clean("\u{feff} \u{3000}两 个\u{feff}词\r"), "两 个\u{feff}词");
    }

    #[test]
    fn key_folds_width_case_and_blanks() {
        assert_eq!(sentence_key(" Ａpple　ｉＰhone？ "), "apple iphone?");
        assert_ne!(sentence_key("花呗"), sentence_key("借呗"));
    }
}
