//! The only door into evaluation: sentences in, embeddings out.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
pub use simcse_model::embed::Embedded;
use simcse_model::{Encoder, SavedEncoder};
use simcse_ops::linear::Precision;

/// Sentences per call of [`Embedder::embed`], so that progress can be shown in between.
const SENTENCES_PER_CALL: usize = 1024;

/// Anything that turns sentences into vectors. The evaluator knows nothing else about an encoder.
pub trait Embedder {
    /// Size `D` of an embedding.
    fn embedding_size(&self) -> usize;

    /// Embeds `n` sentences in evaluation mode (no dropout).
    ///
    /// The embedding of a sentence must not depend on the other sentences of the call.
    ///
    /// # Errors
    /// Whatever keeps the encoder from embedding a sentence.
    fn embed(&self, sentences: &[&str]) -> anyhow::Result<Embedded>;
}

/// Loads an encoder directory as written by a training run or by sentence-transformers.
///
/// Its matrix products are computed in `precision`.
///
/// # Errors
/// When the directory is no encoder directory, or a file in it is missing or damaged; and where a TextCNN is asked
/// for another precision than float32.
pub fn load(path: &Path, precision: Precision) -> anyhow::Result<Box<dyn Embedder>> {
    ensure!(
        path.is_dir(),
        "{}: no such folder; fix: give the directory of a trained encoder",
        path.display()
    );
    let is_there = |name: &str| path.join(name).is_file();
    ensure!(
        !["tokenizer.json", "vocab.txt"].into_iter().any(is_there)
            || ["simcse.json", "modules.json", "vocabulary.json"].into_iter().any(is_there)
            || is_own(&path.join("config.json")),
        "{}: a checkpoint that does not say how its tokens become an embedding; fix: give a pooling, as \
         `simcse evaluate --pooling mean` does",
        path.display()
    );
    let mut saved = SavedEncoder::load(path)?;
    match &mut saved.encoder {
        Encoder::Transformer(transformer) => transformer.set_precision(precision),
        Encoder::TextCnn(_) => ensure!(
            precision == Precision::Float32,
            "{}: a TextCNN computes in f32 only; fix: leave the precision out",
            path.display()
        ),
    }
    Ok(Box::new(saved))
}

/// Whether a `config.json` has the mark of our own, which those of published models do not have.
fn is_own(path: &Path) -> bool {
    let text = std::fs::read(path).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    config.get("kind").is_some()
}

impl Embedder for SavedEncoder {
    fn embedding_size(&self) -> usize {
        Self::embedding_size(self)
    }

    fn embed(&self, sentences: &[&str]) -> anyhow::Result<Embedded> {
        Ok(Self::embed(self, sentences)?)
    }
}

/// The embeddings of a set of sentences, each unique sentence embedded once.
#[derive(Debug)]
pub struct EmbeddedSentences {
    rows: HashMap<String, usize>,
    values: Vec<f32>,
    size: usize,
    truncated: usize,
}

impl EmbeddedSentences {
    /// Embeds the unique ones among `sentences`, long ones first: if memory runs out it does so at once,
    /// and batches hold sentences of like length. Shows a bar on a terminal.
    ///
    /// # Errors
    /// When the embedder fails, returns another number of values than `n * D`, or a value that is not finite.
    pub fn new<'a>(
        embedder: &dyn Embedder,
        sentences: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        let mut unique: Vec<&str> = sentences.into_iter().collect();
        unique.sort_unstable_by(|a, b| b.chars().count().cmp(&a.chars().count()).then_with(|| a.cmp(b)));
        unique.dedup();
        let size = embedder.embedding_size();
        let (mut values, mut truncated) = (Vec::with_capacity(unique.len() * size), 0);
        let bar = progress_bar(unique.len());
        for chunk in unique.chunks(SENTENCES_PER_CALL) {
            let embedded = embed_checked(embedder, chunk)?;
            values.extend(embedded.embeddings);
            truncated += embedded.truncated;
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        let rows = unique.iter().enumerate().map(|(row, sentence)| ((*sentence).to_owned(), row)).collect();
        Ok(Self { rows, values, size, truncated })
    }

    /// The embedding of a sentence, `[D]`.
    ///
    /// # Errors
    /// When the sentence was not among those given to [`EmbeddedSentences::new`].
    pub fn get(&self, sentence: &str) -> anyhow::Result<&[f32]> {
        let row =
            self.rows.get(sentence).with_context(|| format!("sentence {sentence:?} was never embedded"))?;
        Ok(&self.values[row * self.size..(row + 1) * self.size])
    }

    /// Number of unique sentences.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Number of unique sentences that the encoder cut off at its limit.
    pub fn truncated(&self) -> usize {
        self.truncated
    }

    /// Whether there is no sentence.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Size `D` of an embedding.
    pub fn embedding_size(&self) -> usize {
        self.size
    }
}

/// One call of the embedder, its answer checked.
fn embed_checked(embedder: &dyn Embedder, sentences: &[&str]) -> anyhow::Result<Embedded> {
    let size = embedder.embedding_size();
    let embedded = embedder.embed(sentences)?;
    let values = &embedded.embeddings;
    ensure!(
        values.len() == sentences.len() * size,
        "the embedder returned {} values for {} sentences of size {size}",
        values.len(),
        sentences.len()
    );
    if let Some(position) = values.iter().position(|value| !value.is_finite()) {
        bail!(
            "the embedding of {:?} is not finite; fix: train with a lower learning rate",
            sentences[position / size]
        );
    }
    Ok(embedded)
}

/// A bar on standard error, hidden where that is no terminal.
fn progress_bar(total: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("embed {bar:30} {pos}/{len} sentences · {per_sec} · {eta} left");
    ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Embeds a sentence as its number of characters and of bytes, and remembers what it was asked.
    struct Counting {
        asked: RefCell<Vec<String>>,
        spoil: bool,
    }

    impl Embedder for Counting {
        fn embedding_size(&self) -> usize {
            2
        }

        fn embed(&self, sentences: &[&str]) -> anyhow::Result<Embedded> {
            self.asked.borrow_mut().extend(sentences.iter().map(|sentence| (*sentence).to_owned()));
            let value = |count: usize| if self.spoil { f32::NAN } else { count as f32 };
            let embeddings =
                sentences.iter().flat_map(|s| [value(s.chars().count()), value(s.len())]).collect();
            let truncated = sentences.iter().filter(|sentence| sentence.len() > 3).count();
            Ok(Embedded { embeddings, truncated })
        }
    }

    #[test]
    fn each_unique_sentence_is_embedded_once_long_ones_first() {
        let embedder = Counting { asked: RefCell::default(), spoil: false };
        let embedded = EmbeddedSentences::new(&embedder, ["b", "花呗", "a", "花呗", "b", "long"]).unwrap();
        assert_eq!(*embedder.asked.borrow(), ["long", "花呗", "a", "b"]);
        assert_eq!(embedded.len(), 4);
        assert_eq!(embedded.get("花呗").unwrap(), [2.0, 6.0]);
        assert!(embedded.get("never").is_err());
        assert_eq!(embedded.truncated(), 2, "花呗 counts once");
    }

    #[test]
    fn an_embedding_that_is_not_finite_is_an_error_that_names_the_sentence() {
        let embedder = Counting { asked: RefCell::default(), spoil: true };
        let error = EmbeddedSentences::new(&embedder, ["花呗"]).unwrap_err().to_string();
        assert!(error.contains("花呗"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = load(Path::new("no/such/encoder"), Precision::Float32).err().unwrap().to_string();
        assert!(error.starts_with("no/such/encoder: no such folder; fix: "), "{error}");
    }
}
