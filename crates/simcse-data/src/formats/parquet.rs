//! Parquet, as the hub stores data sets: pairs, labelled NLI or triplets by the names of the columns.

use super::named::{Collector, Record};
use super::{Parsed, ReadOptions};
use crate::error::{DataError, Result};
use ::parquet::file::metadata::FileMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use serde_json::Value;
use std::fs::File;
use std::path::Path;

/// Reads all row groups. Integer NLI labels take their names from the file's own metadata; −1 is "no gold".
///
/// # Errors
/// [`DataError::Io`] if the file cannot be opened; [`DataError::Format`], with the row in place of the line,
/// if it is no parquet or lacks a column.
pub fn read(file: &str, path: &Path, options: ReadOptions<'_>) -> Result<Parsed> {
    let opened = File::open(path).map_err(|source| DataError::reading(path, source))?;
    let fail = |row: usize, error: ::parquet::errors::ParquetError| {
        DataError::format(file, row, error.to_string(), "download the file again")
    };
    let reader = SerializedFileReader::new(opened).map_err(|error| fail(1, error))?;
    let label_names = label_names(reader.metadata().file_metadata());
    let mut collector = Collector::new(file, options, label_names);
    let rows = reader.get_row_iter(None).map_err(|error| fail(1, error))?;
    for (index, row) in rows.enumerate() {
        let row = row.map_err(|error| fail(index + 1, error))?;
        let record: Record =
            row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect();
        collector.push(index + 1, &record)?;
    }
    collector.finish()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Str(text) => Value::String(text.clone()),
        Field::Byte(number) => Value::from(*number),
        Field::Short(number) => Value::from(*number),
        Field::Int(number) => Value::from(*number),
        Field::Long(number) => Value::from(*number),
        Field::UByte(number) => Value::from(*number),
        Field::UShort(number) => Value::from(*number),
        Field::UInt(number) => Value::from(*number),
        Field::ULong(number) => Value::from(*number),
        Field::Float(number) => Value::from(*number),
        Field::Double(number) => Value::from(*number),
        _ => Value::Null,
    }
}

/// The class names that the `datasets` library writes into the metadata key `huggingface`, if they are those
/// of NLI. The order of the names differs between data sets, hence they are never assumed.
fn label_names(metadata: &FileMetaData) -> Option<Vec<String>> {
    let text =
        metadata.key_value_metadata()?.iter().find(|entry| entry.key == "huggingface")?.value.as_ref()?;
    let info: Value = serde_json::from_str(text).ok()?;
    let names = info.pointer("/info/features/label/names")?.as_array()?;
    let names: Vec<String> = names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    names.iter().any(|name| name == "entailment").then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Rows;
    use crate::rows::{NliLabel, NliPair, ScoredPair};
    use ::parquet::basic::Compression;
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::metadata::KeyValue;
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    /// Writes what `datasets.Dataset.push_to_hub` would: optional strings, 64-bit integers, compressed.
    fn write(
        path: &Path,
        rows: &[(&str, &str, i64)],
        label: &str,
        metadata: Option<&str>,
        codec: Compression,
    ) {
        let schema = format!(
            "message rows {{ optional binary sentence1 (UTF8); optional binary sentence2 (UTF8); optional int64 {label}; }}"
        );
        let metadata = metadata.map(|value| vec![KeyValue::new("huggingface".to_owned(), value.to_owned())]);
        let properties =
            WriterProperties::builder().set_compression(codec).set_key_value_metadata(metadata).build();
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let mut writer =
            SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let levels = vec![1_i16; rows.len()];
        for texts in
            [rows.iter().map(|row| row.0).collect::<Vec<_>>(), rows.iter().map(|row| row.1).collect()]
        {
            let values: Vec<ByteArray> = texts.into_iter().map(ByteArray::from).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        let labels: Vec<i64> = rows.iter().map(|row| row.2).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn pairs_are_read_in_both_codecs_of_the_hub() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.parquet");
        for codec in [Compression::SNAPPY, Compression::ZSTD(Default::default())] {
            write(&path, &[(" 甲", "乙", 1), ("a", "b", 0)], "score", None, codec);
            let parsed = read("test.parquet", &path, ReadOptions::default()).unwrap();
            let pair = |first: &str, second: &str, score| ScoredPair {
                first: first.into(),
                second: second.into(),
                score,
            };
            assert_eq!(parsed.rows, Rows::Pairs(vec![pair("甲", "乙", 1.0), pair("a", "b", 0.0)]));
        }
    }

    #[test]
    fn label_numbers_take_the_names_that_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.parquet");
        let names = r#"{"info":{"features":{"label":{"names":["neutral","entailment","contradiction"],"_type":"ClassLabel"}}}}"#;
        write(
            &path,
            &[("a", "b", 1), ("a", "c", -1), ("a", "d", 0)],
            "label",
            Some(names),
            Compression::SNAPPY,
        );
        let parsed = read("train.parquet", &path, ReadOptions::default()).unwrap();
        let pair =
            |hypothesis: &str, label| NliPair { premise: "a".into(), hypothesis: hypothesis.into(), label };
        assert_eq!(
            parsed.rows,
            Rows::Nli(vec![pair("b", NliLabel::Entailment), pair("d", NliLabel::Neutral)])
        );
        assert_eq!(parsed.dropped, 1);
    }

    #[test]
    fn a_cut_file_is_one_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.parquet");
        write(&path, &[("a", "b", 1)], "score", None, Compression::SNAPPY);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let error = read("cut.parquet", &path, ReadOptions::default()).unwrap_err().to_string();
        assert!(
            error.starts_with("cut.parquet:1: ") && error.ends_with("; fix: download the file again"),
            "{error}"
        );
    }
}
