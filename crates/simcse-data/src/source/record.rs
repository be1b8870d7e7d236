//! What is recorded of a file that was read.

use crate::error::Result;
use crate::hub::sha256_of_file;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where data came from; stands in every record of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// The folder given by flag or environment.
    DataDir,
    /// `data/` of the project.
    ProjectData,
    /// The folder of models given by flag or environment.
    ModelDir,
    /// A cache of this machine; with the commit if it is the hub's cache.
    Cache {
        /// Commit of the hub's repository.
        revision: Option<String>,
    },
    /// Downloaded from the hub.
    Hub {
        /// Commit of the hub's repository.
        revision: String,
    },
    /// A file, or a model's folder, that the user named.
    OwnFile,
    /// The sample bundled with the program. Such a run never enters a table of real results.
    Sample,
}

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Path below the data folder or the model's folder, `hub:ID/FILE@REVISION`, or `sample:SPLIT`; never a
    /// path of the machine.
    pub path: String,
    /// Hash of the stored bytes, lower-case hex.
    pub sha256: String,
    /// Stored size.
    pub bytes: u64,
    /// Usable rows; 0 for a file of a model.
    pub rows: usize,
}

impl FileRecord {
    /// The record of the file at `path` under the name that records give it.
    ///
    /// # Errors
    /// [`DataError::Io`](crate::DataError::Io) if the file cannot be read.
    pub fn of_file(path: &Path, name: String, rows: usize) -> Result<Self> {
        let (sha256, bytes) = sha256_of_file(path)?;
        Ok(Self { path: name, sha256, bytes, rows })
    }
}
