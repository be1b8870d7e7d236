//! The data sets known by name: where they are, what they hold, whose they are.
//!
//! The table is `catalog.toml`, beside this file.

use crate::error::{DataError, Result};
use crate::formats::Format;
use crate::rows::Split;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// What a data set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Pairs with a label of 0 or 1.
    BinaryPairs,
    /// Pairs with a graded score.
    GradedPairs,
    /// Sentences without labels.
    Sentences,
    /// Premises and hypotheses with one of three labels.
    Nli,
    /// Anchor, positive and hard negative.
    Triplets,
}

/// One named data set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    /// Name in configurations and records (`lcqmc`).
    pub name: String,
    /// Name in tables and pages.
    pub title: String,
    /// `zh` or `en`.
    pub language: String,
    /// What it is for.
    pub task: Task,
    /// Smallest and largest legal score of pairs.
    pub scale: Option<[f32; 2]>,
    /// Licence, as the source states it.
    pub licence: String,
    /// Whom to cite.
    pub citation: String,
    /// Its splits.
    pub splits: Vec<SplitEntry>,
}

/// One split of a data set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitEntry {
    /// Which.
    pub split: Split,
    /// Rows of the published file, those to leave out included; unknown if absent. For SentEval: scored pairs.
    pub rows: Option<usize>,
    /// Rows that the format says to leave out.
    #[serde(default)]
    pub dropped: usize,
    /// Copies of the split, the preferred one first.
    pub files: Vec<FileEntry>,
}

/// One copy of a split.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Data set id on the hub; absent if only known as a local file.
    pub hub: Option<String>,
    /// Files, all of them needed, with `*` for parts of a name; below a data folder or in the hub's repository.
    pub paths: Vec<String>,
    /// How they are written.
    pub format: Format,
    /// Rows of this copy, if they are fewer than the split's.
    pub rows: Option<usize>,
    /// What the record must say about this copy (`partial: …`).
    pub note: Option<String>,
    /// Rows with this sentence are dropped.
    pub drop_sentence: Option<String>,
    /// The last line is cut and to be left out.
    #[serde(default)]
    pub cut_last_line: bool,
    /// Subsets of a SentEval folder.
    #[serde(default)]
    pub subsets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    dataset: Vec<CatalogEntry>,
}

static CATALOG: LazyLock<Vec<CatalogEntry>> = LazyLock::new(|| {
    let file: CatalogFile = toml::from_str(include_str!("catalog.toml"))
        .expect("the catalogue is part of the program and tested");
    file.dataset
});

/// All named data sets, in the order of the table.
pub fn entries() -> &'static [CatalogEntry] {
    &CATALOG
}

/// The data set of this name.
///
/// # Errors
/// [`DataError::UnknownName`] with the known names.
pub fn find(name: &str) -> Result<&'static CatalogEntry> {
    CATALOG.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = CATALOG.iter().map(|entry| entry.name.as_str()).collect();
        DataError::UnknownName { kind: "data set", name: name.to_owned(), known: names.join(", ") }
    })
}

impl CatalogEntry {
    /// One of its splits.
    ///
    /// # Errors
    /// [`DataError::UnknownName`] with the splits that it has.
    pub fn split(&self, split: Split) -> Result<&SplitEntry> {
        self.splits.iter().find(|entry| entry.split == split).ok_or_else(|| {
            let known: Vec<String> =
                self.splits.iter().map(|entry| format!("{}/{}", self.name, entry.split)).collect();
            DataError::UnknownName {
                kind: "split",
                name: format!("{}/{split}", self.name),
                known: known.join(", "),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_well_formed() {
        let names: BTreeSet<&str> = entries().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names.len(), entries().len(), "a name stands twice");
        for entry in entries() {
            let has_scores = matches!(entry.task, Task::BinaryPairs | Task::GradedPairs);
            assert_eq!(entry.scale.is_some(), has_scores, "{}", entry.name);
            assert!(!entry.splits.is_empty() && !entry.licence.is_empty() && !entry.citation.is_empty());
            for split in &entry.splits {
                assert!(!split.files.is_empty(), "{}/{}", entry.name, split.split);
                for file in &split.files {
                    assert_eq!(file.format == Format::Senteval, !file.subsets.is_empty(), "{}", entry.name);
                    assert!(file.paths.iter().all(|path| !path.starts_with('/') && !path.contains("..")));
                }
            }
        }
    }

    #[test]
    fn the_data_sets_of_the_issue_are_there() {
        let wanted = [
            "lcqmc",
            "atec",
            "bq",
            "pawsx",
            "stsb_zh",
            "stsb_zh_unsup",
            "ocnli",
            "oppo",
            "zh_triplets",
            "en_snli_triplets",
            "sts12",
            "sts13",
            "sts14",
            "sts15",
            "sts16",
            "stsb",
            "sickr",
            "wiki1m",
            "nli_for_simcse",
        ];
        for name in wanted {
            assert!(find(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn unknown_names_say_the_known_ones() {
        let error = find("lcmqc").unwrap_err().to_string();
        assert!(error.starts_with("unknown data set `lcmqc`; fix: use one of lcqmc, atec, "), "{error}");
        let error = find("oppo").unwrap().split(Split::Test).unwrap_err().to_string();
        assert!(error.starts_with("unknown split `oppo/test`; fix: use one of oppo/train"), "{error}");
    }
}
