//! One file, many runs: a base configuration, variants of it, seeds.
//!
//! ```toml
//! base = "headline.toml"
//! seeds = [1, 2, 3]
//! [set]                       # for all variants
//! "train.steps" = 500
//! [[variant]]
//! name = "dropout-0.3"
//! label = "dropout .3"
//! group = "dropout"
//! set = { "encoder.network.embedding_dropout" = 0.3, "encoder.network.output_dropout" = 0.3 }
//! ```

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::config::{RunConfig, read_toml, set};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SweepFile {
    base: String,
    seeds: Vec<u64>,
    #[serde(default)]
    set: toml::Table,
    variant: Vec<Variant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    label: String,
    group: String,
    #[serde(default)]
    seeds: Option<Vec<u64>>,
    #[serde(default)]
    set: toml::Table,
    /// Dotted keys of optional values that this variant leaves out.
    #[serde(default)]
    unset: Vec<String>,
}

/// The runs that `path` describes: one for a configuration, variants × seeds for a sweep.
///
/// `seeds`, where not empty, replaces the seeds of the file. Fails when a file cannot be read, a key is
/// unknown, a value is out of range, or two variants have one name.
pub fn load(path: &Path, seeds: &[u64], overrides: &[String]) -> Result<Vec<RunConfig>> {
    let table: toml::Table = read_toml(path)?;
    if !table.contains_key("base") {
        let config = RunConfig::load(path, overrides)?;
        let seeds = if seeds.is_empty() { &[config.seed][..] } else { seeds };
        return Ok(seeds.iter().map(|&seed| RunConfig { seed, ..config.clone() }).collect());
    }
    let file: SweepFile = read_toml(path)?;
    let base: toml::Table = read_toml(&path.with_file_name(&file.base))?;
    let mut configs: Vec<RunConfig> = Vec::new();
    for variant in &file.variant {
        let known = configs.iter().any(|config| config.name == variant.name);
        ensure!(!known, "{}: two variants are named {:?}", path.display(), variant.name);
        let of_file = variant.seeds.as_ref().unwrap_or(&file.seeds);
        for &seed in if seeds.is_empty() { of_file.as_slice() } else { seeds } {
            let config = resolve(&base, &file.set, variant, seed, overrides)
                .with_context(|| format!("{}: variant {}", path.display(), variant.name))?;
            configs.push(config);
        }
    }
    ensure!(!configs.is_empty(), "{}: describes no run; fix: give variants and seeds", path.display());
    Ok(configs)
}

fn resolve(
    base: &toml::Table,
    common: &toml::Table,
    variant: &Variant,
    seed: u64,
    overrides: &[String],
) -> Result<RunConfig> {
    let mut table = base.clone();
    for (key, value) in common.iter().chain(&variant.set) {
        set(&mut table, key, value.clone())?;
    }
    for key in &variant.unset {
        remove(&mut table, key)?;
    }
    for (key, value) in [("name", &variant.name), ("label", &variant.label), ("group", &variant.group)] {
        set(&mut table, key, value.clone().into())?;
    }
    set(&mut table, "seed", toml::Value::Integer(seed.try_into()?))?;
    Ok(RunConfig::from_table(table, overrides)?)
}

fn remove(table: &mut toml::Table, key: &str) -> Result<()> {
    let (mut table, mut rest) = (table, key);
    while let Some((head, tail)) = rest.split_once('.') {
        table = table
            .get_mut(head)
            .and_then(toml::Value::as_table_mut)
            .with_context(|| format!("unset {key}: there is no section {head:?}"))?;
        rest = tail;
    }
    table.remove(rest).map(|_| ()).with_context(|| format!("unset {key}: is not set"))
}
