//! Names of text sources in configurations.

use crate::catalog;
use crate::error::{DataError, Result};
use crate::load::SAMPLE;
use crate::rows::Split;
use std::fmt;
use std::path::Path;

/// What a name in a configuration stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceName {
    /// `lcqmc/dev`: a split of a named data set (or of `sample`).
    Named {
        /// Data set.
        name: String,
        /// Which part.
        split: Split,
    },
    /// `path/to/file.txt`.
    File(String),
}

impl SourceName {
    /// Reads `NAME/SPLIT` or a path; a path is whatever has an extension.
    ///
    /// # Errors
    /// [`DataError::UnknownName`] if it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((name, split)) = text.split_once('/')
            && (name == SAMPLE || catalog::find(name).is_ok())
            && !split.contains(['/', '.'])
        {
            return Ok(Self::Named { name: name.to_owned(), split: split.parse()? });
        }
        if Path::new(text).extension().is_some() {
            return Ok(Self::File(text.to_owned()));
        }
        match text.split_once('/') {
            Some((name, _)) => catalog::find(name).map(|_| Self::File(text.to_owned())),
            None => Err(DataError::UnknownName {
                kind: "text source",
                name: text.to_owned(),
                known: "NAME/SPLIT such as lcqmc/dev".to_owned(),
            }),
        }
    }

    /// What the loaders call it: data set or path, and the split; a file is training text.
    pub fn place(&self) -> (&str, Split) {
        match self {
            Self::Named { name, split } => (name, *split),
            Self::File(path) => (path, Split::Train),
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { name, split } => write!(formatter, "{name}/{split}"),
            Self::File(path) => formatter.write_str(path),
        }
    }
}
