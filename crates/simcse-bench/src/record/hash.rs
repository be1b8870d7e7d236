//! Hashes by which runs are compared.

use anyhow::Context as _;
use serde_json::Value;
use simcse_data::{FileRecord, sha256_hex};

/// Hash of a configuration without its top-level `seed`: runs that differ in the seed alone share it. Comments,
/// blanks and the order of keys do not count.
///
/// # Errors
/// When the text is not TOML.
pub fn config_sha256(config: &str) -> anyhow::Result<String> {
    let mut table: toml::Table = config.parse().context("the resolved configuration is not TOML")?;
    table.remove("seed");
    // A `toml::Table` is sorted by key, so this text is canonical.
    Ok(sha256_hex(toml::to_string(&table)?.as_bytes()))
}

/// Hash of a set of data files: of their own hashes, each once, in order of the hash. Where the files lie and
/// in which order they were read does not count.
pub fn files_sha256<'a>(files: impl IntoIterator<Item = &'a FileRecord>) -> String {
    let mut hashes: Vec<&str> = files.into_iter().map(|file| file.sha256.as_str()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    sha256_hex(hashes.join("\n").as_bytes())
}

/// The content of `data.json` without the places where files were found. They do not make other data: what a
/// run downloads when it begins lies in the cache when it goes on.
pub(crate) fn without_origins(mut data: Value) -> Value {
    match &mut data {
        Value::Object(entries) => {
            entries.shift_remove("origin");
            entries.values_mut().for_each(|value| *value = without_origins(value.take()));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = without_origins(value.take())),
        _ => {}
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_files_were_found_does_not_count() {
        let data = |origin: &str, hash: &str| {
            let file = serde_json::json!({ "origin": { "kind": origin }, "sha256": hash });
            without_origins(serde_json::json!({ "evaluation": [file], "origin": origin, "sample": false }))
        };
        assert_eq!(data("hub", "a"), data("cache", "a"));
        assert_ne!(data("hub", "a"), data("hub", "b"));
    }

    #[test]
    fn seed_comments_and_order_do_not_count_in_a_configuration() {
        let one = config_sha256("seed = 1\na = 1\n[b]\nseed = 3\nc = 2\n").unwrap();
        assert_eq!(one, config_sha256("# why\na = 1\nseed = 2\n[b]\nc = 2\nseed = 3\n").unwrap());
        assert_ne!(one, config_sha256("seed = 1\na = 2\n[b]\nseed = 3\nc = 2\n").unwrap());
        assert_ne!(one, config_sha256("seed = 1\na = 1\n[b]\nseed = 4\nc = 2\n").unwrap());
    }
}
