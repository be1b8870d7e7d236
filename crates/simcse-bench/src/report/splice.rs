//! Replacing text between markers.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

const BEGIN: &str = "<!-- BEGIN: ";
const END: &str = "<!-- END: ";
const CLOSE: &str = " -->";

/// Replaces what stands between `<!-- BEGIN: name -->` and `<!-- END: name -->` by the block of that name.
/// Text without markers comes back as it is.
///
/// # Errors
/// On a name without a block, a marker without its partner, and markers inside of each other; the message
/// starts with the line.
pub(super) fn splice(document: &str, blocks: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let mut spliced = String::with_capacity(document.len());
    let mut open: Option<(&str, usize)> = None;
    for (number, line) in document.split_inclusive('\n').enumerate() {
        let number = number + 1;
        if let Some(name) = marker(line, BEGIN) {
            ensure!(open.is_none(), "{number}: begins {name:?} inside of another; fix: end that first");
            let known = || blocks.keys().cloned().collect::<Vec<_>>().join(", ");
            let block = blocks.get(name);
            let block = block.with_context(|| {
                format!("{number}: no table is named {name:?}; fix: use one of {}", known())
            })?;
            spliced.push_str(line);
            spliced.push_str(block);
            open = Some((name, number));
        } else if let Some(name) = marker(line, END) {
            ensure!(
                open.is_some_and(|(begun, _)| begun == name),
                "{number}: ends {name:?}, which is not begun; fix: write `{BEGIN}{name}{CLOSE}` before"
            );
            spliced.push_str(line);
            open = None;
        } else if open.is_none() {
            spliced.push_str(line);
        }
    }
    if let Some((name, number)) = open {
        bail!("{number}: {name:?} is never ended; fix: write `{END}{name}{CLOSE}` after it");
    }
    Ok(spliced)
}

/// The name in a marker line.
fn marker<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    line.trim().strip_prefix(kind)?.strip_suffix(CLOSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks() -> BTreeMap<String, String> {
        BTreeMap::from([("a.test".to_owned(), "new\n".to_owned())])
    }

    #[test]
    fn text_between_markers_is_replaced_and_nothing_else() {
        let document = "before\n<!-- BEGIN: a.test -->\nold\nolder\n<!-- END: a.test -->\nafter";
        let spliced = splice(document, &blocks()).unwrap();
        assert_eq!(spliced, "before\n<!-- BEGIN: a.test -->\nnew\n<!-- END: a.test -->\nafter");
        assert_eq!(splice(&spliced, &blocks()).unwrap(), spliced, "a second time changes nothing");
        assert_eq!(splice("no markers\n", &blocks()).unwrap(), "no markers\n");
    }

    #[test]
    fn broken_markers_are_errors_with_their_line() {
        for (document, expected) in [
            ("x\n<!-- BEGIN: b -->\n<!-- END: b -->\n", "2: no table is named \"b\""),
            ("<!-- BEGIN: a.test -->\nx\n", "1: \"a.test\" is never ended"),
            ("x\ny\n<!-- END: a.test -->\n", "3: ends \"a.test\""),
            ("<!-- BEGIN: a.test -->\n<!-- BEGIN: a.test -->\n", "2: begins \"a.test\" inside"),
        ] {
            let error = splice(document, &blocks()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
