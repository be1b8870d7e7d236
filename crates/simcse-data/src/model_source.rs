//! Where pretrained encoders are looked for, and which of their files are wanted.

use crate::error::{DataError, Result};
use crate::hub::{Hub, HubOptions, Kind, Listing, Repository};
use crate::source::{FileRecord, Origin};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
/// The first that is there is taken. An index lists the files (shards) that the weights are spread over.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
const TOKENIZERS: [&str; 2] = ["tokenizer.json", "vocab.txt"];
/// Taken where they are there. The last three are of sentence-transformers and name the pooling.
const OTHERS: [&str; 4] =
    ["tokenizer_config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"];

/// The files of a pretrained encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// The folder that holds them, under the names that they have on the hub.
    pub folder: PathBuf,
    /// Where it was found.
    pub origin: Origin,
    /// Commit of the hub's repository; `None` for a folder of the user.
    pub revision: Option<String>,
    /// Every file that is to be used: `config.json`, weights, tokenizer, and the rest.
    pub records: Vec<FileRecord>,
}

/// The search order for pretrained encoders: a folder as given, below the folder of models, the hub's cache,
/// the hub.
#[derive(Debug, Clone)]
pub struct ModelSource {
    model_dir: Option<PathBuf>,
    hub: Hub,
}

impl ModelSource {
    /// The usual places, with `model_dir` (flag or `SIMCSE_MODEL_DIR`) before the hub.
    ///
    /// # Errors
    /// [`DataError::Missing`] if a folder is given that does not exist.
    pub fn new(model_dir: Option<PathBuf>) -> Result<Self> {
        Self::with_hub(model_dir, HubOptions::from_env())
    }

    /// With a hub of the caller's choice.
    ///
    /// # Errors
    /// As [`ModelSource::new`].
    pub fn with_hub(model_dir: Option<PathBuf>, options: HubOptions) -> Result<Self> {
        if let Some(folder) = model_dir.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(DataError::Missing {
                what: format!("model folder {}", folder.display()),
                looked_in: vec!["the file system".to_owned()],
                fix: "correct --model-dir or SIMCSE_MODEL_DIR, or leave it out to use the hub".to_owned(),
            });
        }
        Ok(Self { model_dir, hub: Hub { options } })
    }

    /// The files of the encoder `name`: a path, the name of a folder below the folder of models, or a hub's
    /// `owner/name` (whose copy in the folder of models may lie under the whole id or under its last part).
    ///
    /// Wanted are `config.json`, the first of `model.safetensors`, `model.safetensors.index.json` with its
    /// shards, `pytorch_model.bin`, `pytorch_model.bin.index.json` with its shards, and, where there,
    /// `tokenizer.json`, `vocab.txt`, `tokenizer_config.json` and the pooling of sentence-transformers.
    ///
    /// `revision` is a branch, tag or commit of the hub (`main` if `None`); a folder of the user has none and
    /// is taken whatever is asked for. What the hub's cache has complete is taken without a request: a commit
    /// never changes, and a branch is what it was when it was downloaded. [`ModelFiles::revision`] is the
    /// commit in either case.
    ///
    /// # Errors
    /// [`DataError::Missing`] if there is no such model or a file is lacking, [`DataError::Hub`] if the hub has
    /// no such repository or revision, cannot be reached, or sends a file with another hash than it lists;
    /// [`DataError::Io`] if a file cannot be read or the cache not be written.
    pub fn locate(&self, name: &str, revision: Option<&str>) -> Result<ModelFiles> {
        let (folders, mut looked_in) = self.folders(name);
        if let Some((folder, origin)) = folders.into_iter().find(|(folder, _)| folder.is_dir()) {
            return in_folder(name, folder, origin);
        }
        if !is_hub_id(name) {
            looked_in.push("the hub (not asked: its names are owner/name)".to_owned());
            let fix =
                "give a folder, or the name of a model on the hub such as google-bert/bert-base-chinese";
            return Err(DataError::Missing { what: format!("model {name}"), looked_in, fix: fix.to_owned() });
        }
        let revision = revision.unwrap_or("main");
        if !is_revision(revision) {
            let problem = format!("`{revision}` is no revision");
            return Err(self.hub.error(&problem, "name a branch, tag or commit"));
        }
        let repository = Repository { kind: Kind::Model, id: name, revision };
        if let Some((folder, commit)) = self.hub.snapshot(&repository)
            && let Some(names) = complete(&folder)?
        {
            let origin = Origin::Cache { revision: Some(commit.clone()) };
            return from_hub(&repository, folder, commit, origin, names);
        }
        self.download(&repository)
    }

    /// Folders of the user that may hold the model, and how a message names them.
    fn folders(&self, name: &str) -> (Vec<(PathBuf, Origin)>, Vec<String>) {
        let mut folders = vec![(PathBuf::from(name), Origin::OwnFile)];
        let mut looked_in = vec!["the working folder".to_owned()];
        if let Some(model_dir) = &self.model_dir {
            folders.push((model_dir.join(name), Origin::ModelDir));
            if let Some((_, last)) = name.split_once('/').filter(|_| is_hub_id(name)) {
                folders.push((model_dir.join(last), Origin::ModelDir));
            }
            looked_in.push(format!("the model folder {}", model_dir.display()));
        }
        (folders, looked_in)
    }

    fn download(&self, repository: &Repository<'_>) -> Result<ModelFiles> {
        let listing = self.hub.list(repository)?;
        let parts = parts(|name| listing.file(name).is_some()).map_err(|lacking| {
            let problem = format!("model {} has no {lacking} at {}", repository.id, repository.revision);
            self.hub.error(&problem, "choose a model or a revision that has")
        })?;
        let names = self.fetch_all(repository, &listing, &parts)?;
        self.hub.remember(repository, &listing)?;
        let cached = Repository { revision: &listing.commit, ..*repository };
        let Some((folder, commit)) = self.hub.snapshot(&cached) else {
            return Err(self.hub.error("the cache lost what was downloaded", "try again"));
        };
        let origin = Origin::Hub { revision: commit.clone() };
        from_hub(repository, folder, commit, origin, names)
    }

    /// All files, `config.json` last: without it a snapshot is not complete, so a download that was cut short
    /// is never taken for a model that has no more files.
    fn fetch_all(
        &self,
        repository: &Repository<'_>,
        listing: &Listing,
        parts: &Parts,
    ) -> Result<Vec<String>> {
        for name in &parts.others {
            self.hub.fetch(repository, listing, name)?;
        }
        let weights = self.hub.fetch(repository, listing, parts.weights)?;
        let shards = shards(&weights)?;
        for name in &shards {
            self.hub.fetch(repository, listing, name)?;
        }
        self.hub.fetch(repository, listing, CONFIG)?;
        Ok(parts.names(shards))
    }
}

/// The files of a model without the shards, which only the index knows.
struct Parts {
    weights: &'static str,
    others: Vec<&'static str>,
}

impl Parts {
    fn names(&self, shards: BTreeSet<String>) -> Vec<String> {
        let before = [CONFIG, self.weights].into_iter().map(str::to_owned);
        before.chain(shards).chain(self.others.iter().map(|name| (*name).to_owned())).collect()
    }
}

/// The files that hold the weights of the model in `folder`: one file, or an index and the shards that it names.
/// Of several forms the same one is taken as by [`ModelSource::locate`]. Shards may be missing.
///
/// # Errors
/// [`DataError::Missing`] if there are no weights; [`DataError::Io`] or [`DataError::Format`] if an index cannot
/// be read, or names no file of its folder.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let weights = weights_among(|name| folder.join(name).is_file()).ok_or_else(|| DataError::Missing {
        what: format!("weights ({})", WEIGHTS.join(", ")),
        looked_in: vec![folder.display().to_string()],
        fix: "name the folder of a model".to_owned(),
    })?;
    let weights = folder.join(weights);
    let shards = shards(&weights)?;
    Ok([weights].into_iter().chain(shards.iter().map(|name| folder.join(name))).collect())
}

fn weights_among(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    WEIGHTS.into_iter().find(|name| has(name))
}

/// The wanted among the files that a place has; or what it lacks.
fn parts(has: impl Fn(&str) -> bool) -> std::result::Result<Parts, String> {
    if !has(CONFIG) {
        return Err(CONFIG.to_owned());
    }
    let Some(weights) = weights_among(&has) else {
        return Err(format!("weights ({})", WEIGHTS.join(", ")));
    };
    let others = TOKENIZERS.into_iter().chain(OTHERS).filter(|name| has(name)).collect();
    Ok(Parts { weights, others })
}

#[derive(Deserialize)]
struct ShardIndex {
    /// File of each parameter.
    weight_map: BTreeMap<String, String>,
}

/// The files that an index names, in the order of the alphabet; none if `weights` is no index.
fn shards(weights: &Path) -> Result<BTreeSet<String>> {
    if weights.extension().is_none_or(|extension| extension != "json") {
        return Ok(BTreeSet::new());
    }
    let file = weights.display().to_string();
    let fix = "fetch the model again, or convert its weights to one model.safetensors";
    let bytes = std::fs::read(weights).map_err(|error| DataError::reading(weights, error))?;
    let index: ShardIndex = serde_json::from_slice(&bytes)
        .map_err(|error| DataError::format(&file, error.line(), error.to_string(), fix))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names.iter().find(|name| name.contains(['/', '\\']) || name.starts_with('.')) {
        Some(name) => {
            Err(DataError::format(&file, 1, format!("shard {name:?} is outside of the folder"), fix))
        }
        None if names.is_empty() => Err(DataError::format(&file, 1, "it names no shard", fix)),
        None => Ok(names),
    }
}

/// The files of a snapshot in the hub's cache, if all that are needed are there.
fn complete(folder: &Path) -> Result<Option<Vec<String>>> {
    let has = |name: &str| folder.join(name).is_file();
    let Ok(parts) = parts(has) else { return Ok(None) };
    let shards = shards(&folder.join(parts.weights))?;
    let has_tokenizer = TOKENIZERS.into_iter().any(has);
    Ok((has_tokenizer && shards.iter().all(|name| has(name))).then(|| parts.names(shards)))
}

fn in_folder(name: &str, folder: PathBuf, origin: Origin) -> Result<ModelFiles> {
    let missing = |what: &str| DataError::Missing {
        what: format!("{what} of model {name}"),
        looked_in: vec![folder.display().to_string()],
        fix: "complete the folder, or move it away to use the hub".to_owned(),
    };
    let has = |name: &str| folder.join(name).is_file();
    let parts = parts(has).map_err(|lacking| missing(&lacking))?;
    let shards = shards(&folder.join(parts.weights))?;
    if let Some(shard) = shards.iter().find(|name| !has(name)) {
        return Err(missing(&format!("{shard} (named by {})", parts.weights)));
    }
    let record = |name: &String| FileRecord::of_file(&folder.join(name), name.clone(), 0);
    let records = parts.names(shards).iter().map(record).collect::<Result<_>>()?;
    Ok(ModelFiles { folder, origin, revision: None, records })
}

fn from_hub(
    repository: &Repository<'_>,
    folder: PathBuf,
    commit: String,
    origin: Origin,
    names: Vec<String>,
) -> Result<ModelFiles> {
    let mut records = Vec::new();
    for name in names {
        let path = folder.join(&name);
        let record = FileRecord::of_file(&path, format!("hub:{}/{name}@{commit}", repository.id), 0)?;
        check_named_hash(&path, &record)?;
        records.push(record);
    }
    Ok(ModelFiles { folder, origin, revision: Some(commit), records })
}

/// The cache names large files by their SHA-256, so damage since the download shows.
fn check_named_hash(path: &Path, record: &FileRecord) -> Result<()> {
    let blob = std::fs::canonicalize(path).map_err(|error| DataError::reading(path, error))?;
    let named = blob.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_hash = named.len() == 64 && named.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hash || named == record.sha256 {
        return Ok(());
    }
    Err(DataError::Io {
        file: path.display().to_string(),
        source: std::io::Error::other(format!("damaged: its SHA-256 is {}, not {named}", record.sha256)),
        fix: "delete the file and what it links to, so that it is fetched again",
    })
}

/// Whether a name can be `owner/name` on the hub.
fn is_hub_id(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && part.chars().all(|other| other.is_ascii_alphanumeric() || "-_.".contains(other))
    };
    name.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

/// Whether a name can be a branch (of which `refs/pr/1` is one), a tag or a commit, and a path of the cache.
fn is_revision(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|other| other.is_ascii_alphanumeric() || "-_.+".contains(other))
    };
    name.split('/').all(is_part)
}
