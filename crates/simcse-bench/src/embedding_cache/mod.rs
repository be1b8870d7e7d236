//! Embeddings kept on disk, by the content of encoder and sentence.
//!
//! An encoder that is not trained (a raw checkpoint, a teacher) embeds the same sentences in every run that looks
//! at it: raw, whitened, whitened to fewer dimensions, each with several seeds, which choose and order their text
//! differently. What it said once of a sentence is kept below `<folder>/<hash of the encoder directory>/`. Nothing is ever
//! stale: another weight, pooling or tokenizer is another encoder. The folder may be deleted at any time, and several
//! processes may use it: each adds files of its own.
//!
//! The embedding of a sentence does not depend on the sentences beside it, to the last bit, so a run with a cache ends as one
//! without.

mod entry;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use simcse_model::SavedEncoder;
use simcse_model::embed::with_prefix;

use self::entry::{Entry, Key, key};
use crate::embedder::{Embedded, Embedder};
use crate::record::sha256_hex;

/// The entries of one encoder.
#[derive(Debug)]
pub struct KeptEmbeddings {
    folder: PathBuf,
    /// What is on disk; read when it is first asked for.
    index: Mutex<Option<Index>>,
}

/// Where the embedding of each sentence lies.
#[derive(Debug, Default)]
struct Index {
    entries: Vec<Entry>,
    /// Entry and row.
    places: HashMap<Key, (usize, usize)>,
}

/// Embeddings of sentences, and which of them were cut.
#[derive(Debug, Clone, PartialEq)]
struct Answers {
    /// Row-major, `[n, D]`.
    embeddings: Vec<f32>,
    /// One for each sentence.
    truncated: Vec<bool>,
}

impl KeptEmbeddings {
    /// Those of `encoder` under `cache`. Network, tokenizer, pooling and prefix tell encoders apart, by the hash of
    /// the directory that [`SavedEncoder::save`] writes; a whitening is fitted later and is no part of it.
    ///
    /// # Errors
    /// When the directory cannot be written for a moment under `cache`.
    pub fn of(encoder: &SavedEncoder, cache: &Path) -> Result<Self> {
        std::fs::create_dir_all(cache).with_context(|| cache.display().to_string())?;
        let folder = tempfile::tempdir_in(cache).with_context(|| cache.display().to_string())?;
        encoder.save(folder.path())?;
        let name_and_hash = |path: &PathBuf| -> Result<String> {
            let name = path.strip_prefix(folder.path()).unwrap_or(path).display();
            Ok(format!("{name} {}", sha256_hex(&std::fs::read(path)?)))
        };
        let mut files = files_below(folder.path())?.iter().map(name_and_hash).collect::<Result<Vec<_>>>()?;
        files.sort_unstable();
        Ok(Self { folder: cache.join(sha256_hex(files.join("\n").as_bytes())), index: Mutex::new(None) })
    }

    /// `encoder`, which must be the one given to [`KeptEmbeddings::of`] but for its whitening, as an embedder that
    /// computes only what is not kept yet.
    pub fn embedder<'a>(&'a self, encoder: &'a SavedEncoder) -> impl Embedder + 'a {
        CachedEncoder { kept: self, encoder }
    }

    /// The embeddings of these sentences, each of `size` values: from disk, or else computed and kept.
    fn get(
        &self,
        sentences: &[&str],
        size: usize,
        compute: impl FnOnce(&[&str]) -> Result<Answers>,
    ) -> Result<Embedded> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match &mut *index {
            Some(index) => index,
            none => none.insert(Index::open(&self.folder)?),
        };
        let keys: Vec<Key> = sentences.iter().map(|sentence| key(sentence)).collect();
        let missing: Vec<usize> =
            (0..keys.len()).filter(|place| !index.places.contains_key(&keys[*place])).collect();
        if !missing.is_empty() {
            let new: Vec<&str> = missing.iter().map(|place| sentences[*place]).collect();
            let keys: Vec<Key> = missing.iter().map(|place| keys[*place]).collect();
            index.add(Entry::write(&self.folder, &keys, &compute(&new)?, size)?, &keys);
        }
        index.read(&keys, size)
    }
}

impl Index {
    fn open(folder: &Path) -> Result<Self> {
        let mut index = Self::default();
        if !folder.is_dir() {
            return Ok(index);
        }
        for path in files_below(folder)? {
            if path.extension().is_some_and(|extension| extension == "safetensors")
                && let Some((entry, keys)) = Entry::open(&path)?
            {
                index.add(entry, &keys);
            }
        }
        Ok(index)
    }

    fn add(&mut self, entry: Entry, keys: &[Key]) {
        let number = self.entries.len();
        self.entries.push(entry);
        self.places.extend(keys.iter().enumerate().map(|(row, key)| (*key, (number, row))));
    }

    /// All of these are there.
    fn read(&self, keys: &[Key], size: usize) -> Result<Embedded> {
        let mut by_entry: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            let (entry, row) = self.places.get(key).context("a sentence is not kept")?;
            by_entry.entry(*entry).or_default().push((*row, place));
        }
        let mut embedded = Embedded { embeddings: vec![0.0; keys.len() * size], truncated: 0 };
        for (entry, rows) in by_entry {
            let numbers: Vec<usize> = rows.iter().map(|(row, _)| *row).collect();
            let answers = self.entries[entry].read(&numbers, size)?;
            for (row, (_, place)) in answers.embeddings.chunks_exact(size).zip(&rows) {
                embedded.embeddings[place * size..(place + 1) * size].copy_from_slice(row);
            }
            embedded.truncated += answers.truncated.iter().filter(|cut| **cut).count();
        }
        Ok(embedded)
    }
}

struct CachedEncoder<'a> {
    kept: &'a KeptEmbeddings,
    encoder: &'a SavedEncoder,
}

impl CachedEncoder<'_> {
    /// What the network says of sentences, and which of them it sees in part only.
    fn compute(&self, sentences: &[&str]) -> Result<Answers> {
        let embeddings = self.encoder.embed_before_whitening(sentences)?.embeddings;
        let prefixed = with_prefix(&self.encoder.prefix, sentences);
        let (tokenizer, most) = (self.encoder.tokenizer.as_dyn(), self.encoder.max_tokens);
        let truncated = prefixed.iter().map(|sentence| tokenizer.encode(sentence, most).truncated).collect();
        Ok(Answers { embeddings, truncated })
    }
}

impl Embedder for CachedEncoder<'_> {
    fn embedding_size(&self) -> usize {
        self.encoder.embedding_size()
    }

    fn embed(&self, sentences: &[&str]) -> Result<Embedded> {
        let size = self.encoder.encoder.as_dyn().embedding_size();
        Ok(self.encoder.whiten(self.kept.get(sentences, size, |missing| self.compute(missing))?))
    }
}

/// Every file below `folder`, in order.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two values for each sentence; those of more than two bytes are cut.
    fn answer(sentences: &[&str]) -> Answers {
        let row = |sentence: &&str| [sentence.len() as f32 / 3.0, sentence.as_bytes()[0].into()];
        Answers {
            embeddings: sentences.iter().flat_map(row).collect(),
            truncated: sentences.iter().map(|sentence| sentence.len() > 2).collect(),
        }
    }

    /// Asks, checks the answer, and returns what had to be computed.
    fn ask(kept: &KeptEmbeddings, sentences: &[&str]) -> Vec<String> {
        let mut computed = Vec::new();
        let compute = |missing: &[&str]| {
            computed = missing.iter().map(|sentence| (*sentence).to_owned()).collect();
            Ok(answer(missing))
        };
        let found = kept.get(sentences, 2, compute).unwrap();
        let Answers { embeddings, truncated } = answer(sentences);
        assert_eq!(found.embeddings, embeddings);
        assert_eq!(found.truncated, truncated.iter().filter(|cut| **cut).count());
        computed
    }

    fn kept(folder: &Path) -> KeptEmbeddings {
        KeptEmbeddings { folder: folder.to_owned(), index: Mutex::new(None) }
    }

    #[test]
    fn what_was_computed_once_is_not_computed_again() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("encoder");
        let first = kept(&folder);
        assert_eq!(ask(&first, &["花呗", "b"]), ["花呗", "b"]);
        assert_eq!(ask(&first, &["b", "花呗"]), [""; 0], "in another order");
        assert_eq!(ask(&first, &["c", "b", "花呗b"]), ["c", "花呗b"], "only what is new");
        let later = kept(&folder);
        assert_eq!(ask(&later, &["花呗b", "花呗", "c", "b"]), [""; 0], "from disk, in another process");
        assert_eq!(ask(&kept(&cache.path().join("other")), &["b"]), ["b"], "another encoder");
        assert_eq!(ask(&later, &[]), [""; 0]);
    }

    #[test]
    fn a_damaged_entry_is_named() {
        let cache = tempfile::tempdir().unwrap();
        ask(&kept(cache.path()), &["b"]);
        let entry = files_below(cache.path()).unwrap().remove(0);
        let whole = std::fs::read(&entry).unwrap();
        let fails =
            || format!("{:#}", kept(cache.path()).get(&["b"], 2, |_| Ok(answer(&["b"]))).unwrap_err());
        let start = format!("{}: no embeddings; fix: delete it", entry.display());
        for damaged in [&whole[..whole.len() - 1], &whole[..20], b"cut short", b""] {
            std::fs::write(&entry, damaged).unwrap();
            assert!(fails().starts_with(&start), "{}", fails());
        }
        std::fs::write(&entry, &whole).unwrap();
        let other_size = kept(cache.path()).get(&["b"], 3, |_| Ok(answer(&["b"])));
        assert!(format!("{:#}", other_size.unwrap_err()).starts_with(&start));
    }
}
