//! Which data sets are scored.

use std::collections::BTreeMap;

use simcse_data::{DataError, DataSource, PairSet, Split, catalog, load_pairs};

use crate::record::files_sha256;

/// The Chinese tasks of text2vec and of Su's comparison.
pub const CHINESE_TASKS: [&str; 5] = ["lcqmc", "atec", "bq", "pawsx", "stsb_zh"];

/// Splits on which a finished run is scored. Train splits are training text, and partial or absent in most copies.
pub const SCORED: [Split; 2] = [Split::Dev, Split::Test];

/// Evaluation sets that were found, and what was not.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSets {
    /// The sets, task after task, split after split.
    pub sets: Vec<PairSet>,
    /// One line for each set that was not found. It has no metrics: in a table it is a dash.
    pub missing: Vec<String>,
}

/// Loads `tasks` × `splits`. A split that a task does not have is left out; one whose files are nowhere is
/// reported in [`TaskSets::missing`].
///
/// # Errors
/// On an unknown task, and on files that are there but cannot be read.
pub fn load_task_sets(source: &DataSource, tasks: &[&str], splits: &[Split]) -> anyhow::Result<TaskSets> {
    let mut found = TaskSets { sets: Vec::new(), missing: Vec::new() };
    for task in tasks {
        for split in splits {
            if catalog::find(task).is_ok_and(|entry| entry.split(*split).is_err()) {
                continue;
            }
            match load_pairs(source, task, *split) {
                Ok(set) => found.sets.push(set),
                Err(error @ DataError::Missing { .. }) => found.missing.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(found)
}

/// Hash of the files of each set by its name and split, for [`crate::record::RunIdentity`].
pub fn evaluation_hashes(sets: &[PairSet]) -> BTreeMap<String, String> {
    sets.iter().map(|set| (format!("{}/{}", set.name, set.split), files_sha256(&set.files))).collect()
}
