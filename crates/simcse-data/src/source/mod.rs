//! Where data is looked for, and what is recorded of where it was found.

mod record;
#[cfg(test)]
mod tests;

pub use record::{FileRecord, Origin};

use crate::catalog::{self, CatalogEntry, FileEntry, SplitEntry};
use crate::error::{DataError, Result};
use crate::hub::{Hub, HubFiles, HubOptions, select, user_cache_dir};
use crate::load::SAMPLE;
use crate::rows::Split;
use std::path::{Path, PathBuf};

/// A copy of a split that was found.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) entry: &'static FileEntry,
    pub(crate) files: Vec<LocatedFile>,
    pub(crate) origin: Origin,
}

#[derive(Debug)]
pub(crate) struct LocatedFile {
    pub(crate) path: PathBuf,
    /// What stands in [`FileRecord::path`].
    pub(crate) record: String,
}

/// The search order: the given folder, `data/`, the local caches, the hub. The bundled sample comes last and
/// by decision of the caller: on [`DataError::Missing`], ask for the data set `sample` and say so.
#[derive(Debug, Clone)]
pub struct DataSource {
    data_dir: Option<PathBuf>,
    project_dir: PathBuf,
    cache_dir: PathBuf,
    hub: Hub,
}

impl DataSource {
    /// The usual places, with `data_dir` (flag or `SIMCSE_DATA_DIR`) first.
    ///
    /// # Errors
    /// [`DataError::Missing`] if a folder is given that does not exist: a typing error must not silently
    /// train on other data.
    pub fn new(data_dir: Option<PathBuf>) -> Result<Self> {
        Self::with_places(
            data_dir,
            PathBuf::from("data"),
            user_cache_dir().join("simcse"),
            HubOptions::from_env(),
        )
    }

    /// Every place given.
    ///
    /// # Errors
    /// As [`DataSource::new`].
    pub fn with_places(
        data_dir: Option<PathBuf>,
        project_dir: PathBuf,
        cache_dir: PathBuf,
        hub: HubOptions,
    ) -> Result<Self> {
        if let Some(folder) = data_dir.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(DataError::Missing {
                what: format!("data folder {}", folder.display()),
                looked_in: vec!["the file system".to_owned()],
                fix: "correct --data-dir or SIMCSE_DATA_DIR, or leave it out to search the usual places"
                    .to_owned(),
            });
        }
        Ok(Self { data_dir, project_dir, cache_dir, hub: Hub { options: hub } })
    }

    /// The folder given, if one was.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// Whether what [`crate::SourceName`] and [`crate::load_sentences`] call `name` is on this machine. Nothing
    /// is read and nothing downloaded: `false` may still mean that the hub has it. `sample` always is.
    ///
    /// # Errors
    /// [`DataError::UnknownName`] if `name` is neither a data set with this split nor the path of a file.
    pub fn has(&self, name: &str, split: Split) -> Result<bool> {
        if name == SAMPLE {
            return Ok(true);
        }
        match catalog::find(name) {
            Ok(entry) => Ok(self.locate_here(entry.split(split)?, &mut Vec::new()).is_some()),
            Err(_) if Path::new(name).extension().is_some() => Ok(self.locate_own(name).is_ok()),
            Err(error) => Err(error),
        }
    }

    /// The first copy of a split in the search order.
    pub(crate) fn locate(&self, entry: &'static CatalogEntry, split: &'static SplitEntry) -> Result<Located> {
        let mut looked_in = Vec::new();
        let here = self.locate_here(split, &mut looked_in);
        match here.or_else(|| self.download(split, &mut looked_in)) {
            Some(located) => Ok(located),
            None => Err(self.missing(entry, split, looked_in)),
        }
    }

    /// The first copy on this machine.
    fn locate_here(&self, split: &'static SplitEntry, looked_in: &mut Vec<String>) -> Option<Located> {
        for (folder, origin, name) in self.folders() {
            if let Some(located) = split.files.iter().find_map(|file| in_folder(folder, file, &origin)) {
                return Some(located);
            }
            looked_in.push(name);
        }
        for file in &split.files {
            if let Some(found) = file.hub.as_ref().and_then(|id| self.hub.cached(id, &file.paths)) {
                let origin = Origin::Cache { revision: Some(found.revision.clone()) };
                return Some(from_hub(file, found, origin));
            }
        }
        looked_in.push("the hub's cache".to_owned());
        None
    }

    /// A file that the user named: as given, or below the data folder.
    pub(crate) fn locate_own(&self, path: &str) -> Result<LocatedFile> {
        let given = Path::new(path);
        let below = self.data_dir.as_ref().map(|folder| folder.join(given));
        let candidates = [Some(given.to_path_buf()), below];
        let Some(found) = candidates.into_iter().flatten().find(|candidate| candidate.is_file()) else {
            return Err(DataError::Missing {
                what: format!("file {path}"),
                looked_in: vec!["the working folder".to_owned(), "the data folder".to_owned()],
                fix: "correct the path, or use the name of a known data set".to_owned(),
            });
        };
        // An absolute path would carry the machine into the record: what lies outside the data folder keeps
        // only its name. The hash identifies it.
        let inside = self.data_dir.as_ref().and_then(|folder| given.strip_prefix(folder).ok());
        let record = match inside {
            Some(inside) => inside.display().to_string(),
            None if given.is_relative() && !path.contains("..") => path.to_owned(),
            None => given.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        };
        Ok(LocatedFile { path: found, record })
    }

    fn folders(&self) -> Vec<(&Path, Origin, String)> {
        let mut folders = Vec::new();
        if let Some(folder) = &self.data_dir {
            folders.push((
                folder.as_path(),
                Origin::DataDir,
                format!("the data folder {}", folder.display()),
            ));
        }
        folders.push((&self.project_dir, Origin::ProjectData, format!("{}/", self.project_dir.display())));
        let cache = Origin::Cache { revision: None };
        folders.push((&self.cache_dir, cache, format!("the cache {}", self.cache_dir.display())));
        folders
    }

    fn download(&self, split: &'static SplitEntry, looked_in: &mut Vec<String>) -> Option<Located> {
        for file in &split.files {
            let Some(id) = &file.hub else { continue };
            match self.hub.download(id, &file.paths) {
                Ok(Some(found)) => {
                    let origin = Origin::Hub { revision: found.revision.clone() };
                    return Some(from_hub(file, found, origin));
                }
                Ok(None) => looked_in.push(format!("the hub's {id} (no {})", file.paths.join(", "))),
                Err(DataError::Hub { endpoint, problem, .. }) => {
                    let reason = format!("the hub {endpoint} ({problem})");
                    if !looked_in.contains(&reason) {
                        looked_in.push(reason);
                    }
                }
                Err(other) => looked_in.push(format!("the hub ({other})")),
            }
        }
        None
    }

    fn missing(&self, entry: &CatalogEntry, split: &SplitEntry, looked_in: Vec<String>) -> DataError {
        let local = split.files.iter().find(|file| file.hub.is_none());
        let wanted = local.or(split.files.first()).map_or_else(String::new, |file| file.paths.join(", "));
        DataError::Missing {
            what: format!("data set {}/{}", entry.name, split.split),
            looked_in,
            fix: format!("put {wanted} into a folder and name the folder by --data-dir or SIMCSE_DATA_DIR"),
        }
    }
}

/// A copy of a split below a data folder. A hub's file may lie there under the whole id (as the hub's
/// download command puts it), under its last part (as a clone does), or by its own path.
fn in_folder(folder: &Path, entry: &'static FileEntry, origin: &Origin) -> Option<Located> {
    let prefixes = match &entry.hub {
        None => vec![String::new()],
        Some(id) => {
            let last = id.rsplit('/').next().unwrap_or(id);
            let mut prefixes = vec![format!("{id}/"), format!("{last}/")];
            // `data/train-*.parquet` says nothing about the data set; a path with a name of its own does.
            if entry.paths.iter().all(|path| !path.starts_with("data/") && path.contains('/')) {
                prefixes.push(String::new());
            }
            prefixes
        }
    };
    prefixes.iter().find_map(|prefix| {
        let patterns: Vec<String> = entry.paths.iter().map(|path| format!("{prefix}{path}")).collect();
        let found = expand(folder, &patterns)?;
        let files = found.into_iter().map(|(path, record)| LocatedFile { path, record }).collect();
        Some(Located { entry, files, origin: origin.clone() })
    })
}

fn from_hub(entry: &'static FileEntry, found: HubFiles, origin: Origin) -> Located {
    let id = entry.hub.as_deref().unwrap_or_default();
    let revision = &found.revision;
    let named =
        |(path, name): (PathBuf, String)| LocatedFile { path, record: format!("hub:{id}/{name}@{revision}") };
    let files = found.files.into_iter().map(named).collect();
    Located { entry, files, origin }
}

/// The files or folders below `folder` that match each of `patterns`, with their paths below it; `None` if a
/// pattern has none. A star stands in the last part of a path only.
pub(crate) fn expand(folder: &Path, patterns: &[String]) -> Option<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for pattern in patterns {
        if !pattern.contains('*') {
            let path = folder.join(pattern);
            if !path.exists() {
                return None;
            }
            found.push((path, pattern.clone()));
            continue;
        }
        let (parent, _) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        let listed = std::fs::read_dir(folder.join(parent)).ok()?;
        let names: Vec<String> = listed
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .map(|name| if parent.is_empty() { name } else { format!("{parent}/{name}") })
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let matching = select(&names, std::slice::from_ref(pattern))?;
        found.extend(matching.into_iter().map(|name| (folder.join(name), name.to_owned())));
    }
    Some(found)
}
