//! The sentences of a benchmark: one file that every contestant reads in the same way.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// The unique sentences of a file in its order, blanks around them taken off: one a line, or the first two columns
/// of tab-separated pairs.
pub(crate) fn read(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut seen = HashSet::new();
    let cells = text.lines().flat_map(|line| line.split('\t').take(2)).map(str::trim);
    let sentences: Vec<String> =
        cells.filter(|cell| !cell.is_empty() && seen.insert(*cell)).map(str::to_owned).collect();
    ensure!(!sentences.is_empty(), "{}: no sentence; fix: give one a line", path.display());
    Ok(sentences)
}

/// Only the sequences of `length` tokens or more, cut to that many: every sentence of one length.
pub(crate) fn of_equal_length(sequences: Vec<Vec<u32>>, length: usize) -> Result<Vec<Vec<u32>>> {
    let long = sequences.into_iter().filter(|sequence| sequence.len() >= length);
    let equal: Vec<Vec<u32>> = long.map(|sequence| sequence[..length].to_vec()).collect();
    ensure!(!equal.is_empty(), "no sentence has {length} tokens; fix: lower --equal-length");
    Ok(equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_lines_give_unique_sentences_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.txt");
        std::fs::write(&path, "花呗\t 还款 \t1\r\n还款\t账单\t0\n\nlast\n").unwrap();
        assert_eq!(read(&path).unwrap(), ["花呗", "还款", "账单", "last"]);
        std::fs::write(&path, "\n\t\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("no sentence; fix"));
    }

    #[test]
    fn shorter_sentences_are_left_out_and_longer_ones_cut() {
        let equal = of_equal_length(vec![vec![1], vec![1, 2], vec![3, 4, 5]], 2).unwrap();
        assert_eq!(equal, [[1, 2], [3, 4]]);
        assert!(of_equal_length(vec![vec![1]], 2).is_err());
    }
}
