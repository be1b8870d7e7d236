//! From one located file to rows and a record of it.

use crate::error::{DataError, Result};
use crate::files::{decode, read_bytes};
use crate::formats::{self, Format, Parsed, ReadOptions, tsv};
use crate::source::{FileRecord, LocatedFile};
use std::path::Path;

/// Reads one subset of a SentEval folder.
pub(crate) fn read_senteval(
    folder: &LocatedFile,
    subset: &str,
    options: ReadOptions<'_>,
) -> Result<(Parsed, Vec<FileRecord>)> {
    let paths = ["input", "gs"].map(|part| folder.path.join(format!("STS.{part}.{subset}.txt")));
    let names = paths.clone().map(|path| path.display().to_string());
    let (input, gold) = (read_bytes(&paths[0])?, read_bytes(&paths[1])?);
    let parsed = formats::senteval::read(
        (&names[0], decode(&names[0], &input.bytes)?),
        (&names[1], decode(&names[1], &gold.bytes)?),
        options,
    )?;
    let records = [("input", input), ("gs", gold)].map(|(part, file)| FileRecord {
        path: format!("{}/STS.{part}.{subset}.txt", folder.record),
        sha256: file.sha256,
        bytes: file.stored_bytes,
        rows: parsed.rows.len(),
    });
    Ok((parsed, records.to_vec()))
}

/// Reads one file in the given format, or in the one that its name and content suggest.
pub(crate) fn read_file(
    file: &LocatedFile,
    format: Option<Format>,
    options: ReadOptions<'_>,
) -> Result<(Parsed, FileRecord)> {
    let name = file.path.display().to_string();
    let read = read_bytes(&file.path)?;
    let format = match format {
        Some(format) => format,
        None => guess_format(&name, &file.path, &read.bytes)?,
    };
    let text = || decode(&name, &read.bytes);
    let parsed = match format {
        Format::Lines => formats::lines::read(&name, text()?, options),
        Format::Tsv => tsv::read(&name, text()?, options),
        Format::StsbCsv => tsv::read_columns(&name, text()?, tsv::STSB, 0, options),
        Format::DoubleBar => formats::double_bar::read(&name, text()?, options),
        Format::Csv => formats::csv::read(&name, text()?, options),
        Format::Jsonl => formats::jsonl::read(&name, text()?, options),
        Format::Parquet => formats::parquet::read(&name, &file.path, options),
        Format::Senteval => Err(DataError::format(&name, 1, "SentEval data is a folder", "name the folder")),
    }?;
    let rows = parsed.rows.len();
    let record =
        FileRecord { path: file.record.clone(), sha256: read.sha256, bytes: read.stored_bytes, rows };
    Ok((parsed, record))
}

/// `.parquet`, `.jsonl`, `.json`, `.csv`, `.tsv` by extension (before `.gz`); anything else by its first line.
fn guess_format(name: &str, path: &Path, bytes: &[u8]) -> Result<Format> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let extension = file_name.trim_end_matches(".gz").rsplit('.').next().unwrap_or_default().to_owned();
    Ok(match extension.as_str() {
        "parquet" => Format::Parquet,
        "jsonl" | "json" => Format::Jsonl,
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        _ => {
            let text = decode(name, bytes)?;
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            match () {
                () if first.split("||").count() >= 4 => Format::DoubleBar,
                () if first.contains('\t') => Format::Tsv,
                () => Format::Lines,
            }
        }
    })
}
