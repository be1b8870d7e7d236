//! One file, many runs: a base configuration, variants of it, grids, seeds.
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
//! [[grid]]                    # a variant for every combination of the values
//! name = "temperature-{loss.temperature}-batch-{train.batch_size}"
//! label = "temperature {loss.temperature}, batches of {train.batch_size}"
//! group = "temperature"
//! values = { "loss.temperature" = [0.01, 0.05], "train.batch_size" = [64, 256] }
//! ```

use std::collections::BTreeMap;
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
    #[serde(default)]
    variant: Vec<Variant>,
    #[serde(default)]
    grid: Vec<Grid>,
}

#[derive(Debug, Clone, Deserialize)]
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

/// Variants, one for each combination of values. In name and label `{key}` stands for the value of a key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grid {
    name: String,
    label: String,
    group: String,
    #[serde(default)]
    seeds: Option<Vec<u64>>,
    #[serde(default)]
    set: toml::Table,
    values: BTreeMap<String, Vec<toml::Value>>,
}

impl Grid {
    /// Fails when a key has no values. Names that do not tell the variants apart are seen by [`load`].
    fn variants(&self) -> Result<Vec<Variant>> {
        let mut variants = vec![Variant {
            name: self.name.clone(),
            label: self.label.clone(),
            group: self.group.clone(),
            seeds: self.seeds.clone(),
            set: self.set.clone(),
            unset: Vec::new(),
        }];
        for (key, values) in &self.values {
            ensure!(
                !values.is_empty(),
                "grid {}: {key} has no values; fix: give some, or take the key out",
                self.name
            );
            let one = |variant: &Variant, value: &toml::Value| {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let fill = |text: &str| text.replace(&format!("{{{key}}}"), &shown);
                let mut variant = variant.clone();
                (variant.name, variant.label) = (fill(&variant.name), fill(&variant.label));
                variant.set.insert(key.clone(), value.clone());
                variant
            };
            let of_values = |variant| values.iter().map(move |value| one(variant, value));
            variants = variants.iter().flat_map(of_values).collect();
        }
        Ok(variants)
    }
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
    let mut variants = file.variant;
    for grid in &file.grid {
        variants.extend(grid.variants().with_context(|| path.display().to_string())?);
    }
    for variant in &variants {
        let known = configs.iter().any(|config| config.name == variant.name);
        ensure!(
            !known,
            "{}: two variants are named {:?}; fix: give each a name of its own, a grid with {{key}} in it",
            path.display(),
            variant.name
        );
        let of_file = variant.seeds.as_ref().unwrap_or(&file.seeds);
        for &seed in if seeds.is_empty() { of_file.as_slice() } else { seeds } {
            let config = resolve(&base, &file.set, variant, seed, overrides)
                .with_context(|| format!("{}: variant {}", path.display(), variant.name))?;
            configs.push(config);
        }
    }
    ensure!(
        !configs.is_empty(),
        "{}: describes no run; fix: give variants or a grid, and seeds",
        path.display()
    );
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
