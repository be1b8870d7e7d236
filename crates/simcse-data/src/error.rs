//! What can go wrong with data, by the kind a caller can act on.

use std::path::Path;

/// Result with a [`DataError`].
pub type Result<T> = std::result::Result<T, DataError>;

/// Bad or absent data. Every message is one line that names the file, the line where there is one, and
/// the mend.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file, folder or data set is nowhere to be found. The caller may fall back to the bundled sample.
    #[error("{what} not found; looked in: {}; fix: {fix}", .looked_in.join(", "))]
    Missing {
        /// What was wanted.
        what: String,
        /// The places, in the order of the search, each with the reason it failed.
        looked_in: Vec<String>,
        /// The mend.
        fix: String,
    },
    /// A row that does not follow the format.
    #[error("{file}:{line}: {problem}; fix: {fix}")]
    Format {
        /// File as the user knows it.
        file: String,
        /// Line, from 1. For parquet the row, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
        /// The mend.
        fix: String,
    },
    /// A file that is not UTF-8.
    #[error("{file}:{line}: not valid UTF-8; fix: convert the file, for example `iconv -f GB18030 -t UTF-8`")]
    Encoding {
        /// File as the user knows it.
        file: String,
        /// First line with an invalid byte, from 1.
        line: usize,
    },
    /// A file without a single row.
    #[error("{file}: no rows; fix: check that the download is complete")]
    Empty {
        /// File as the user knows it.
        file: String,
    },
    /// A name that is not in the catalogue.
    #[error("unknown {kind} `{name}`; fix: use one of {known}, or the path of a file")]
    UnknownName {
        /// What the name should stand for ("data set", "split").
        kind: &'static str,
        /// The name as given.
        name: String,
        /// The known names, separated by commas.
        known: String,
    },
    /// A data set of another kind than the caller asked for.
    #[error("{name} holds {found}, not {wanted}; fix: choose another data set or split")]
    WrongKind {
        /// Data set.
        name: String,
        /// What it holds.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The Hugging Face hub could not serve a file.
    #[error("hub {endpoint}: {problem}; fix: {fix}")]
    Hub {
        /// Endpoint that was asked.
        endpoint: String,
        /// What it answered, or that it did not.
        problem: String,
        /// The mend.
        fix: String,
    },
    /// A value of the configuration that is out of range.
    #[error("{key}: {problem}; fix: {fix}")]
    Config {
        /// Configuration key.
        key: &'static str,
        /// What is wrong, with the value.
        problem: String,
        /// The mend.
        fix: String,
    },
    /// Rows that do not make a batch.
    #[error("cannot make a batch: {0}")]
    Batch(String),
    /// A tokenizer file that cannot be used.
    #[error("{file}: {problem}; fix: {fix}")]
    Tokenizer {
        /// File as the user knows it.
        file: String,
        /// What is wrong.
        problem: String,
        /// The mend.
        fix: String,
    },
    /// Reading or writing failed (rights, full disk).
    #[error("{file}: {source}; fix: {fix}")]
    Io {
        /// File as the user knows it.
        file: String,
        /// The system's reason.
        source: std::io::Error,
        /// The mend.
        fix: &'static str,
    },
}

impl DataError {
    /// A [`DataError::Format`].
    pub(crate) fn format(
        file: &str,
        line: usize,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::Format { file: file.to_owned(), line, problem: problem.into(), fix: fix.into() }
    }

    /// A [`DataError::Io`] on reading.
    pub(crate) fn reading(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            file: path.display().to_string(),
            source,
            fix: "check that the file exists and may be read",
        }
    }

    /// A [`DataError::Io`] on writing.
    pub(crate) fn writing(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            file: path.display().to_string(),
            source,
            fix: "check the rights of the folder and the free space of the disk",
        }
    }
}
