//! A hash in `summary.json` over the rest of it and the log: a figure that was changed by hand is found.
//!
//! It protects from slips, not from forgers: who changes a figure on purpose can reckon the hash anew. Against that there is
//! `simcse verify`, which scores or trains again.

use anyhow::{Context as _, ensure};

use super::sha256_hex;

/// What stands before the hash, which is the last entry.
const ENTRY: &str = ",\n  \"sha256\": \"";
/// What stands behind it.
const END: &str = "\"\n}\n";

/// `object`, pretty JSON without a last line break, with the hash as its last entry.
pub(super) fn close(object: &str, log: &[u8]) -> String {
    let entries = object.strip_suffix("\n}").unwrap_or(object);
    format!("{entries}{ENTRY}{}{END}", hash(entries, log))
}

/// A sealed text, taken apart.
#[derive(Debug)]
pub(super) struct Opened {
    /// The object without its hash; the text as it is, if it has none.
    pub(super) object: String,
    entries: String,
    found: Option<String>,
}

/// Takes a text apart, whatever it is.
pub(super) fn open(text: &str) -> Opened {
    match text.rsplit_once(ENTRY).and_then(|(entries, rest)| Some((entries, rest.strip_suffix(END)?))) {
        Some((entries, found)) => Opened {
            object: format!("{entries}\n}}"),
            entries: entries.to_owned(),
            found: Some(found.to_owned()),
        },
        None => Opened { object: text.to_owned(), entries: String::new(), found: None },
    }
}

impl Opened {
    /// Fails when there was no hash, and when it is of another text or another log.
    pub(super) fn check(&self, log: &[u8]) -> anyhow::Result<()> {
        let found = self.found.as_ref().context("has no sha256 of its content at its end")?;
        ensure!(
            *found == hash(&self.entries, log),
            "was changed after the run wrote it, or metrics.jsonl beside it was: its sha256 is of another content"
        );
        Ok(())
    }
}

fn hash(entries: &str, log: &[u8]) -> String {
    sha256_hex(&[entries.as_bytes(), b"\n", log].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_opens_again_and_a_changed_digit_does_not() {
        let (object, log) = ("{\n  \"a\": 0.25\n}", b"{\"step\":1}\n");
        let text = close(object, log);
        assert!(text.ends_with("\"\n}\n") && text.contains("\"sha256\": \""), "{text}");
        assert_eq!(open(&text).object, object);
        open(&text).check(log).unwrap();
        for (text, log) in
            [(text.replace("0.25", "0.26"), &log[..]), (text.clone(), b""), (text, b"{\"step\":2}\n")]
        {
            let error = open(&text).check(log).unwrap_err().to_string();
            assert!(error.contains("was changed after the run wrote it"), "{error}");
        }
        let error = open(object).check(log).unwrap_err().to_string();
        assert!(error.contains("has no sha256"), "{error}");
        assert_eq!(open(object).object, object);
    }

    /// `(printf '{\n  "a": 1\n'; printf 'log') | sha256sum`
    #[test]
    fn the_hash_is_of_the_entries_a_line_break_and_the_log() {
        let text = close("{\n  \"a\": 1\n}", b"log");
        let wanted = "1c1bcc6b5190db3333cfc7261690c56557321ab7b70a05333043d022631b3936";
        assert_eq!(text, format!("{{\n  \"a\": 1,\n  \"sha256\": \"{wanted}\"\n}}\n"));
    }
}
