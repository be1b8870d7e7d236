//! Hashes by which runs are compared.

use anyhow::Context as _;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_comments_and_order_do_not_count_in_a_configuration() {
        let one = config_sha256("seed = 1\na = 1\n[b]\nseed = 3\nc = 2\n").unwrap();
        assert_eq!(one, config_sha256("# why\na = 1\nseed = 2\n[b]\nc = 2\nseed = 3\n").unwrap());
        assert_ne!(one, config_sha256("seed = 1\na = 2\n[b]\nseed = 3\nc = 2\n").unwrap());
        assert_ne!(one, config_sha256("seed = 1\na = 1\n[b]\nseed = 4\nc = 2\n").unwrap());
    }
}
