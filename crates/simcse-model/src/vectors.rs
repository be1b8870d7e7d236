//! Token vectors from a file.
//!
//! Two formats: a `.safetensors` file with one matrix `[V, E]` beside a vocabulary file of one token a
//! line, and the text format of word2vec and GloVe (`token v1 v2 …` a line, with or without a header line).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::{ModelError, Result};

/// Vectors of tokens, all of one size.
#[derive(Debug, Clone)]
pub struct TokenVectors {
    rows: HashMap<String, usize>,
    values: Vec<f32>,
    size: usize,
}

impl TokenVectors {
    /// Reads `path`: a `.safetensors` file (its only matrix, and the only `*.vocab` or `vocab.txt` file
    /// beside it), or a text file of vectors.
    ///
    /// Fails when the file is missing, holds no or several matrices, disagrees with its vocabulary in the
    /// number of rows, or has a line with another number of values; the message names file and line.
    pub fn load(path: &Path) -> Result<Self> {
        if is_safetensors(path) { Self::load_safetensors(path) } else { Self::load_text(path) }
    }

    /// The files that [`TokenVectors::load`] reads for `path`: for the record of a run.
    pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
        let mut files = vec![path.to_owned()];
        if is_safetensors(path) {
            files.push(vocabulary_beside(path)?);
        }
        Ok(files)
    }

    fn load_safetensors(path: &Path) -> Result<Self> {
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).map_err(|error| {
            ModelError::file(path, format!("{error}; fix: give a complete safetensors file"))
        })?;
        let mut matrices = tensors.values().filter(|tensor| tensor.rank() == 2);
        let (Some(matrix), None) = (matrices.next(), matrices.next()) else {
            return Err(ModelError::file(path, "must hold exactly one matrix [V, E] of token vectors"));
        };
        let (count, size) = matrix.dims2()?;
        let vocabulary = vocabulary_beside(path)?;
        let text =
            std::fs::read_to_string(&vocabulary).map_err(|error| ModelError::file(&vocabulary, error))?;
        let tokens: Vec<&str> = text.lines().map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        if tokens.len() != count {
            let problem = format!("{} tokens, but {} has {count} vectors", tokens.len(), path.display());
            return Err(ModelError::file(&vocabulary, problem));
        }
        let values = matrix.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(Self { rows: first_rows(tokens.into_iter()), values, size })
    }

    fn load_text(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| ModelError::file(path, error))?;
        let mut tokens = Vec::new();
        let mut values: Vec<f32> = Vec::new();
        let mut size = 0;
        for (number, line) in text.lines().enumerate() {
            let mut fields = line.trim_end().split(' ');
            let token = fields.next().unwrap_or_default();
            let start = values.len();
            for field in fields {
                values.push(field.parse().map_err(|_| {
                    ModelError::file(path, format!("line {}: {field:?} is no number", number + 1))
                })?);
            }
            let found = values.len() - start;
            if number == 0 && found == 1 {
                values.clear(); // The header line of word2vec: number of vectors and their size.
                continue;
            }
            if size == 0 {
                size = found;
            }
            if found != size || size == 0 {
                let problem = format!("line {}: {found} values where {size} are expected", number + 1);
                return Err(ModelError::file(path, problem));
            }
            tokens.push(token);
        }
        if tokens.is_empty() {
            return Err(ModelError::file(
                path,
                "holds no vectors; fix: give lines of a token and its values",
            ));
        }
        Ok(Self { rows: first_rows(tokens.into_iter()), values, size })
    }

    /// Size `E` of a vector.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Number of tokens with a vector.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The vector of a token.
    pub fn get(&self, token: &str) -> Option<&[f32]> {
        self.rows.get(token).map(|row| &self.values[row * self.size..(row + 1) * self.size])
    }

    /// Copies vectors into the rows of `table` `[V, E]` whose token has one; the other rows stay. Given
    /// vectors are scaled by one factor so that their root mean square is that of the table: random and
    /// given rows then have one scale. Returns the new table and the number of rows that were found.
    pub fn fill(&self, table: &Tensor, tokens: &[String]) -> Result<(Tensor, usize)> {
        let (count, size) = table.dims2()?;
        if size != self.size || tokens.len() != count {
            let problem = format!(
                "vectors of size {}, table of {:?}, {} tokens",
                self.size,
                table.dims(),
                tokens.len()
            );
            return Err(ModelError::Config { key: "embedding_size", value: size.to_string(), problem });
        }
        let mut values: Vec<f32> = table.flatten_all()?.to_vec1()?;
        let scale = root_mean_square(&values) / root_mean_square(&self.values).max(f32::MIN_POSITIVE);
        let mut found = 0;
        for (row, token) in values.chunks_mut(size).zip(tokens) {
            if let Some(vector) = self.get(token) {
                row.iter_mut().zip(vector).for_each(|(value, given)| *value = given * scale);
                found += 1;
            }
        }
        Ok((Tensor::from_vec(values, (count, size), table.device())?, found))
    }
}

fn is_safetensors(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "safetensors")
}

fn root_mean_square(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    (sum / values.len().max(1) as f64).sqrt() as f32
}

/// Row of each token; of a token that stands twice, the first.
fn first_rows<'a>(tokens: impl Iterator<Item = &'a str>) -> HashMap<String, usize> {
    let mut rows = HashMap::new();
    for (row, token) in tokens.enumerate() {
        rows.entry(token.to_owned()).or_insert(row);
    }
    rows
}

fn vocabulary_beside(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).map_err(|error| ModelError::file(folder, error))?;
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| file.ends_with("vocab.txt") || file.extension().is_some_and(|e| e == "vocab"))
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(file), true) => Ok(file),
        _ => {
            Err(ModelError::file(folder, "needs one vocabulary file (vocab.txt or *.vocab), a token a line"))
        }
    }
}
