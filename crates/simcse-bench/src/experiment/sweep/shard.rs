//! The part of a sweep that is one process's own.

use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

/// Every n-th run, from the i-th on: `i/n`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Whether the run with this number, counted from 0, is of this part.
    pub fn has(self, number: usize) -> bool {
        number % self.count == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (index, count) = text.split_once('/')?;
            Some(Self { index: index.trim().parse().ok()?, count: count.trim().parse().ok()? })
        };
        let shard = parse().with_context(|| format!("{text:?}; fix: give I/N, such as 1/4"))?;
        ensure!(
            (1..=shard.count).contains(&shard.index),
            "{text:?}; fix: give I/N with I from 1 to N, such as 1/4"
        );
        Ok(shard)
    }
}
