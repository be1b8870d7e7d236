//! `simcse cosines`: how the cosines of recorded encoders lie, by gold class.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use simcse_bench::embedder::load;
use simcse_bench::report::{COSINES, Cosines, Definitions};
use simcse_bench::tasks::{cosine_classes, load_task_sets};
use simcse_data::{Split, write_whole};
use simcse_ops::linear::Precision;

use crate::data::DataOptions;
use crate::say;

/// The pairs that are looked at: graded ones, as in the paper's figure.
const SET: (&str, Split) = ("stsb_zh", Split::Dev);

/// Count the cosines of pairs by gold class, for the encoders of results/tables.toml; `simcse report` draws the figure
#[derive(Debug, clap::Args)]
pub(crate) struct CosinesCommand {
    /// Root of the repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    #[command(flatten)]
    data: DataOptions,
}

impl CosinesCommand {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let definitions = Definitions::read(&self.root.join("results/tables.toml"))?;
        let names =
            definitions.encoders.context("results/tables.toml has no [encoders]; fix: add the section")?.runs;
        let (task, split) = SET;
        let mut found = load_task_sets(&self.data.source()?, &[task], &[split])?;
        let set = found.sets.pop().with_context(|| found.missing.join("; "))?;
        let before = Cosines::read(&self.root)?.map(|cosines| cosines.encoders).unwrap_or_default();
        let mut cosines =
            Cosines { set: format!("{task}/{split}"), encoders: std::collections::BTreeMap::new() };
        for name in names {
            let classes = match first_encoder(&self.root, &name)? {
                Some(folder) => cosine_classes(load(&folder, Precision::Float32)?.as_ref(), &set)?,
                None => match before.get(&name) {
                    Some(classes) => {
                        say(&format!("{name}: no encoder on this machine; its earlier count stays"));
                        classes.clone()
                    }
                    None => {
                        say(&format!("{name}: left out: no encoder on this machine"));
                        continue;
                    }
                },
            };
            cosines.encoders.insert(name, classes);
        }
        ensure!(
            !cosines.encoders.is_empty(),
            "no recorded encoder on this machine; fix: run what tables.toml names"
        );
        let text = serde_json::to_string(&cosines)? + "\n";
        write_whole(&self.root.join(COSINES), text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The encoder of the lowest seed of a configuration, where one is on this machine.
fn first_encoder(root: &Path, name: &str) -> Result<Option<PathBuf>> {
    let (experiment, config) =
        name.split_once('/').with_context(|| format!("{name:?} is not EXPERIMENT/CONFIG"))?;
    let runs = root.join("results/runs").join(experiment);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&runs).into_iter().flatten().flatten() {
        let folder = entry.file_name().to_string_lossy().into_owned();
        let seed = folder.strip_prefix(config).and_then(|rest| rest.strip_prefix("-s")?.parse::<u64>().ok());
        let encoder = entry.path().join("encoder");
        if let Some(seed) = seed.filter(|_| encoder.is_dir()) {
            found.push((seed, encoder));
        }
    }
    found.sort();
    Ok(found.into_iter().next().map(|(_, encoder)| encoder))
}
