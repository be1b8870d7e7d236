//! One file of kept embeddings: a safetensors file of which single rows are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use serde::Deserialize;

use super::Answers;
use crate::record::{sha256_hex, write_whole};

/// First half of the SHA-256 of a sentence, as hex: 128 bits tell any number of sentences apart.
pub(super) type Key = [u8; 32];

/// The tensors: keys `[n, 32]`, whether a sentence was cut `[n]`, embeddings `[n, D]`.
const KEYS: &str = "sentences";
const TRUNCATED: &str = "truncated";
const EMBEDDINGS: &str = "embeddings";
/// Bytes of a float32.
const FLOAT: usize = 4;

/// The key of a sentence.
pub(super) fn key(sentence: &str) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(&sha256_hex(sentence.as_bytes()).as_bytes()[..32]);
    key
}

/// A file, and where its parts begin.
#[derive(Debug)]
pub(super) struct Entry {
    path: PathBuf,
    /// Values of an embedding.
    size: usize,
    /// First byte of the embeddings.
    begin: u64,
    truncated: Vec<bool>,
}

/// What the head of a safetensors file says of a tensor.
#[derive(Debug, Deserialize)]
struct Part {
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl Entry {
    /// A file and the keys of its rows; `None` for a file of the older layout, by batches.
    ///
    /// Fails when it is cut short or is something else.
    pub(super) fn open(path: &Path) -> Result<Option<(Self, Vec<Key>)>> {
        Self::read_head(path).with_context(|| problem(path))
    }

    fn read_head(path: &Path) -> Result<Option<(Self, Vec<Key>)>> {
        let mut file = File::open(path)?;
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        let whole = file.metadata()?.len();
        ensure!(length < whole, "a head of {length} bytes");
        let mut head = vec![0; usize::try_from(length)?];
        file.read_exact(&mut head)?;
        let parts: BTreeMap<String, Part> = serde_json::from_slice(&head)?;
        let end = parts.values().map(|part| part.data_offsets[1]).max().unwrap_or(0);
        ensure!(whole == 8 + length + end as u64, "{whole} bytes");
        let (Some(keys), Some(cut), Some(embeddings)) =
            (parts.get(KEYS), parts.get(TRUNCATED), parts.get(EMBEDDINGS))
        else {
            return Ok(None);
        };
        let [rows, size] = embeddings.shape[..] else { return Ok(None) };
        if cut.shape != [rows] || keys.shape != [rows, size_of::<Key>()] {
            return Ok(None);
        }
        let mut bytes = |part: &Part| -> Result<Vec<u8>> {
            let [begin, end] = part.data_offsets;
            file.seek(SeekFrom::Start(8 + length + begin as u64))?;
            let mut bytes = vec![0; end - begin];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        let truncated = bytes(cut)?.into_iter().map(|byte| byte != 0).collect();
        let keys = bytes(keys)?.as_chunks().0.to_vec();
        let begin = 8 + length + embeddings.data_offsets[0] as u64;
        Ok(Some((Self { path: path.to_owned(), size, begin, truncated }, keys)))
    }

    /// Keeps these answers in a new file below `folder`.
    pub(super) fn write(folder: &Path, keys: &[Key], answers: &Answers, size: usize) -> Result<Self> {
        let device = &Device::Cpu;
        let flags: Vec<u8> = answers.truncated.iter().map(|cut| u8::from(*cut)).collect();
        let tensors = [
            (KEYS, Tensor::from_slice(keys.as_flattened(), (keys.len(), size_of::<Key>()), device)?),
            (TRUNCATED, Tensor::from_slice(&flags, flags.len(), device)?),
            (EMBEDDINGS, Tensor::from_slice(&answers.embeddings, (keys.len(), size), device)?),
        ];
        let bytes = safetensors::serialize(tensors.iter().map(|(name, tensor)| (*name, tensor)), None)?;
        let path = folder.join(format!("{}.safetensors", sha256_hex(keys.as_flattened())));
        write_whole(&path, &bytes)?;
        let opened = Self::open(&path)?;
        Ok(opened.with_context(|| problem(&path))?.0)
    }

    /// The answers of these rows, each of `size` values.
    pub(super) fn read(&self, rows: &[usize], size: usize) -> Result<Answers> {
        self.read_rows(rows, size).with_context(|| problem(&self.path))
    }

    fn read_rows(&self, rows: &[usize], size: usize) -> Result<Answers> {
        ensure!(self.size == size, "embeddings of {} values instead of {size}", self.size);
        let mut file = File::open(&self.path)?;
        let mut embeddings = Vec::with_capacity(rows.len() * size);
        let mut bytes = vec![0; size * FLOAT];
        for row in rows {
            file.seek(SeekFrom::Start(self.begin + (row * size * FLOAT) as u64))?;
            file.read_exact(&mut bytes)?;
            embeddings.extend(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)));
        }
        Ok(Answers { embeddings, truncated: rows.iter().map(|row| self.truncated[*row]).collect() })
    }
}

fn problem(path: &Path) -> String {
    format!("{}: no embeddings; fix: delete it", path.display())
}
