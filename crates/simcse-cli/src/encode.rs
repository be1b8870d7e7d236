//! `simcse encode`: embeddings of sentences as a file.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use simcse_bench::embedder::EmbeddedSentences;
use simcse_data::write_whole;
use simcse_ops::profile;

use crate::raw::RawOptions;
use crate::{npy, say};

/// Embed sentences, one a line, into a file of one row per sentence
#[derive(Debug, clap::Args)]
pub(crate) struct EncodeCommand {
    /// Directory of a trained encoder, or of one of sentence-transformers; with --pooling a checkpoint: a
    /// folder, its name below the model folder, or owner/name on the hub
    encoder: String,
    #[command(flatten)]
    raw: RawOptions,
    /// File of sentences, one a line; `-` is standard input
    #[arg(default_value = "-")]
    sentences: PathBuf,
    /// File to write: `.npy` (float32, [n, D]) or `.tsv`
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Scale each embedding to length 1, so that a dot product is a cosine
    #[arg(long)]
    normalize: bool,
    /// Print to standard error where the time went; the whole embedding counts as one step
    #[arg(long)]
    profile: bool,
}

/// Formats of the file.
#[derive(Debug, Clone, Copy)]
enum Format {
    Npy,
    Tsv,
}

impl EncodeCommand {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let format = format_of(&self.out)?;
        let encoder = self.raw.load(&self.encoder)?;
        let text = read(&self.sentences)?;
        let sentences = sentences(&text).with_context(|| self.sentences.display().to_string())?;
        if self.profile {
            profile::enable();
        }
        let (began, timer) = (Instant::now(), profile::step());
        let embedded = EmbeddedSentences::new(encoder.as_ref(), sentences.iter().copied())?;
        let rate = embedded.len() as f64 / began.elapsed().as_secs_f64();
        drop(timer);
        if self.profile {
            say(&profile::take().to_string());
        }
        let size = embedded.embedding_size();
        let mut values = Vec::with_capacity(sentences.len() * size);
        for sentence in &sentences {
            values.extend_from_slice(embedded.get(sentence)?);
        }
        if self.normalize {
            values.chunks_mut(size).for_each(scale_to_length_one);
        }
        let bytes = match format {
            Format::Npy => npy::bytes(&values, size),
            Format::Tsv => tsv(&values, size).into_bytes(),
        };
        write_whole(&self.out, &bytes)?;
        let (path, count) = (self.out.display(), sentences.len());
        say(&format!("{path}: {count} embeddings of size {size}; {rate:.1} sentences/s"));
        if embedded.truncated() > 0 {
            let (cut, unique) = (embedded.truncated(), embedded.len());
            say(&format!(
                "{cut} of {unique} different sentences were longer than the encoder takes, and cut off"
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn format_of(path: &Path) -> anyhow::Result<Format> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => Ok(Format::Npy),
        Some("tsv") => Ok(Format::Tsv),
        _ => bail!("{}: unknown format; fix: end the name of --out in .npy or .tsv", path.display()),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut bytes).context("standard input: cannot be read")?;
    } else {
        bytes = std::fs::read(path)
            .with_context(|| format!("{}: cannot be read; fix: check the path", path.display()))?;
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        anyhow::anyhow!("{}:{line}: not valid UTF-8; fix: convert it, for example with iconv", path.display())
    })
}

/// The lines, trimmed. An empty line is an error: rows of the file answer to lines of the text.
fn sentences(text: &str) -> anyhow::Result<Vec<&str>> {
    let sentences: Vec<&str> = text.trim_start_matches('\u{feff}').lines().map(str::trim).collect();
    ensure!(!sentences.is_empty(), "no sentences; fix: give one sentence a line");
    if let Some(index) = sentences.iter().position(|sentence| sentence.is_empty()) {
        bail!("line {} is empty; fix: remove it, each line is one row of the result", index + 1);
    }
    Ok(sentences)
}

fn scale_to_length_one(row: &mut [f32]) {
    let length = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
}

/// One row a line; Rust prints as many digits as it takes to read the same float32 back.
fn tsv(values: &[f32], size: usize) -> String {
    let mut text = String::new();
    for row in values.chunks(size) {
        let fields: Vec<String> = row.iter().map(f32::to_string).collect();
        text.push_str(&fields.join("\t"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_answer_to_lines() {
        assert_eq!(sentences("\u{feff}one\r\n two \n").unwrap(), ["one", "two"]);
        let error = sentences("one\n\ntwo\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2 is empty; fix: "), "{error}");
        assert!(sentences("").is_err());
    }

    #[test]
    fn tsv_reads_back_to_the_same_bits() {
        let values = [0.1_f32, -1.5e-9, 3.0, f32::MIN_POSITIVE];
        let text = tsv(&values, 2);
        assert_eq!(text.lines().count(), 2);
        let read: Vec<f32> = text.split_whitespace().map(|field| field.parse().unwrap()).collect();
        assert_eq!(read, values);
    }

    #[test]
    fn a_row_is_scaled_to_length_one_and_zero_stays() {
        let mut row = [3.0, 4.0];
        scale_to_length_one(&mut row);
        assert_eq!(row, [0.6, 0.8]);
        let mut zero = [0.0, 0.0];
        scale_to_length_one(&mut zero);
        assert_eq!(zero, [0.0, 0.0]);
    }
}
