//! Embeddings kept on disk, by the content of encoder and sentences.
//!
//! An encoder that is not trained (a raw checkpoint, a teacher) embeds the same sentences in every run that looks
//! at it: raw, whitened, whitened to fewer dimensions, each with several seeds. What it said once is kept in
//! `<folder>/<hash of the encoder directory>/<hash of the sentences>.safetensors`. Nothing is ever stale: another
//! weight, pooling or tokenizer is another encoder. The folder may be deleted at any time.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor, safetensors};
use simcse_model::SavedEncoder;

use crate::embedder::{Embedded, Embedder};
use crate::record::{sha256_hex, write_whole};

/// The tensors of an entry: `[n, D]`, and how many of the sentences were cut, `[1]`.
const EMBEDDINGS: &str = "embeddings";
const TRUNCATED: &str = "truncated";

/// The entries of one encoder.
#[derive(Debug)]
pub struct KeptEmbeddings {
    folder: PathBuf,
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
        Ok(Self { folder: cache.join(sha256_hex(files.join("\n").as_bytes())) })
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
        compute: impl FnOnce() -> Result<Embedded>,
    ) -> Result<Embedded> {
        let path = self.folder.join(format!("{}.safetensors", hash(sentences)));
        if path.is_file() {
            return load(&path, (sentences.len(), size));
        }
        let embedded = compute()?;
        save(&path, &embedded, (sentences.len(), size))?;
        Ok(embedded)
    }
}

struct CachedEncoder<'a> {
    kept: &'a KeptEmbeddings,
    encoder: &'a SavedEncoder,
}

impl Embedder for CachedEncoder<'_> {
    fn embedding_size(&self) -> usize {
        self.encoder.embedding_size()
    }

    fn embed(&self, sentences: &[&str]) -> Result<Embedded> {
        let size = self.encoder.encoder.as_dyn().embedding_size();
        let network = || Ok(self.encoder.embed_before_whitening(sentences)?);
        Ok(self.encoder.whiten(self.kept.get(sentences, size, network)?))
    }
}

fn load(path: &Path, shape: (usize, usize)) -> Result<Embedded> {
    let fix = || format!("{}: no embeddings of {} sentences; fix: delete it", path.display(), shape.0);
    let tensors = safetensors::load(path, &Device::Cpu).with_context(fix)?;
    let tensor = |name: &str| tensors.get(name).with_context(fix);
    let embeddings = tensor(EMBEDDINGS)?;
    ensure!(embeddings.dims() == [shape.0, shape.1], fix());
    let truncated = tensor(TRUNCATED)?.to_vec1::<i64>().with_context(fix)?;
    Ok(Embedded {
        embeddings: embeddings.flatten_all()?.to_vec1().with_context(fix)?,
        truncated: truncated.first().copied().with_context(fix)? as usize,
    })
}

fn save(path: &Path, embedded: &Embedded, shape: (usize, usize)) -> Result<()> {
    let embeddings = Tensor::from_slice(&embedded.embeddings, shape, &Device::Cpu)?;
    let truncated = Tensor::new(&[embedded.truncated as i64], &Device::Cpu)?;
    let bytes = ::safetensors::serialize([(EMBEDDINGS, &embeddings), (TRUNCATED, &truncated)], None)?;
    Ok(write_whole(path, &bytes)?)
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

/// Sentences may hold any character, so their lengths stand before them.
fn hash(sentences: &[&str]) -> String {
    let texts = sentences.iter().map(|sentence| format!("{}:{sentence}", sentence.len()));
    sha256_hex(texts.collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sentences: &[&str]) -> Result<Embedded> {
        let embeddings = sentences.iter().map(|sentence| sentence.len() as f32 / 3.0).collect();
        Ok(Embedded { embeddings, truncated: sentences.len() })
    }

    #[test]
    fn what_was_computed_once_is_not_computed_again() {
        let cache = tempfile::tempdir().unwrap();
        let kept = |encoder: &str| KeptEmbeddings { folder: cache.path().join(encoder) };
        let computed = |encoder: &str, sentences: &[&str]| {
            let mut computed = false;
            let compute = || {
                computed = true;
                answer(sentences)
            };
            assert_eq!(kept(encoder).get(sentences, 1, compute).unwrap(), answer(sentences).unwrap());
            computed
        };
        assert!(computed("a", &["花呗", "b"]));
        assert!(!computed("a", &["花呗", "b"]), "from disk, with equal bits and the count of cut sentences");
        assert!(computed("a", &["b", "花呗"]), "in another order");
        assert!(computed("a", &["花呗b"]));
        assert!(computed("b", &["花呗", "b"]), "another encoder");
    }

    #[test]
    fn a_damaged_entry_is_named() {
        let cache = tempfile::tempdir().unwrap();
        let kept = KeptEmbeddings { folder: cache.path().to_owned() };
        kept.get(&["b"], 1, || answer(&["b"])).unwrap();
        let entry = cache.path().join(format!("{}.safetensors", hash(&["b"])));
        let fails = || format!("{:#}", kept.get(&["b"], 1, || answer(&["b"])).unwrap_err());
        std::fs::write(&entry, b"cut short").unwrap();
        let start = format!("{}: no embeddings of 1 sentences; fix: delete it", entry.display());
        assert!(fails().starts_with(&start), "{}", fails());
        save(&entry, &answer(&["b", "c"]).unwrap(), (2, 1)).unwrap();
        assert!(fails().starts_with(&start), "of other sentences: {}", fails());
    }
}
