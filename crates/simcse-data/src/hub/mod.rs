//! Files on the Hugging Face hub, data sets and models, and the cache that all its clients share.

mod download;
mod options;
mod select;
mod verify;

use crate::error::{DataError, Result};
use hf_hub::{Cache, Repo, RepoType};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use options::HubOptions;
pub(crate) use options::user_cache_dir;
pub(crate) use select::select;
pub(crate) use verify::sha256_of_file;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    DataSet,
    Model,
}

impl Kind {
    /// As messages name it.
    fn name(self) -> &'static str {
        match self {
            Self::DataSet => "data set",
            Self::Model => "model",
        }
    }
}

/// A repository at one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repository<'a> {
    pub(crate) kind: Kind,
    /// `owner/name`.
    pub(crate) id: &'a str,
    /// Branch, tag or commit.
    pub(crate) revision: &'a str,
}

impl Repository<'_> {
    fn at(&self, revision: &str) -> Repo {
        let kind = match self.kind {
            Kind::DataSet => RepoType::Dataset,
            Kind::Model => RepoType::Model,
        };
        Repo::with_revision(self.id.to_owned(), kind, revision.to_owned())
    }

    /// Whether the revision is a commit, which never changes.
    fn is_commit(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Files of one commit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HubFiles {
    /// Where they lie, with their names in the repository.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// The commit.
    pub(crate) revision: String,
}

/// What the hub says of a revision.
#[derive(Debug, Deserialize)]
pub(crate) struct Listing {
    /// The commit.
    #[serde(rename = "sha")]
    pub(crate) commit: String,
    #[serde(rename = "siblings")]
    pub(crate) files: Vec<ListedFile>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListedFile {
    #[serde(rename = "rfilename")]
    pub(crate) name: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    git_sha1: Option<String>,
    lfs: Option<LargeFile>,
}

/// A file that git itself does not hold; then `blobId` is that of a note in its place.
#[derive(Debug, Deserialize)]
struct LargeFile {
    sha256: Option<String>,
}

impl Listing {
    /// The list, if its names can be used as paths below the cache: a server is not to choose where we write.
    fn checked(self) -> std::result::Result<Self, String> {
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let is_bad = |name: &&String| name.is_empty() || !Path::new(name).components().all(is_plain);
        let bad = self.files.iter().map(|file| &file.name).chain([&self.commit]).find(is_bad).cloned();
        match bad {
            Some(name) => Err(format!("{name:?} is no name of a file")),
            None => Ok(self),
        }
    }

    pub(crate) fn file(&self, name: &str) -> Option<&ListedFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// Why endpoints could not be reached, found out once per process.
static UNREACHABLE: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// The hub behind one set of options.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    pub(crate) options: HubOptions,
}

impl Hub {
    /// The folder in the cache that holds files of this revision, and its commit. Some files may be missing.
    pub(crate) fn snapshot(&self, repository: &Repository<'_>) -> Option<(PathBuf, String)> {
        let folder = self.options.cache_dir.join(repository.at(repository.revision).folder_name());
        let commit = if repository.is_commit() {
            repository.revision.to_owned()
        } else {
            std::fs::read_to_string(folder.join("refs").join(repository.revision)).ok()?.trim().to_owned()
        };
        let snapshot = folder.join("snapshots").join(&commit);
        snapshot.is_dir().then_some((snapshot, commit))
    }

    /// The files that match all `patterns` in the cached main revision of a data set.
    pub(crate) fn cached(&self, id: &str, patterns: &[String]) -> Option<HubFiles> {
        let repository = Repository { kind: Kind::DataSet, id, revision: "main" };
        let (snapshot, revision) = self.snapshot(&repository)?;
        let files = crate::source::expand(&snapshot, patterns)?;
        Some(HubFiles { files, revision })
    }

    /// Downloads the files that match all `patterns` into the cache. `Ok(None)` if the data set lacks one.
    pub(crate) fn download(&self, id: &str, patterns: &[String]) -> Result<Option<HubFiles>> {
        let repository = Repository { kind: Kind::DataSet, id, revision: "main" };
        let listing = self.list(&repository)?;
        let listed: Vec<&str> = listing.files.iter().map(|file| file.name.as_str()).collect();
        let Some(names) = select(&listed, patterns) else { return Ok(None) };
        let mut files = Vec::new();
        for name in names {
            files.push((self.fetch(&repository, &listing, name)?, name.to_owned()));
        }
        self.remember(&repository, &listing)?;
        Ok(Some(HubFiles { files, revision: listing.commit }))
    }

    /// Notes in the cache which commit a branch is, once all wanted files are there.
    pub(crate) fn remember(&self, repository: &Repository<'_>, listing: &Listing) -> Result<()> {
        if repository.is_commit() {
            return Ok(());
        }
        let cache = Cache::new(self.options.cache_dir.clone());
        let noted = cache.repo(repository.at(repository.revision)).create_ref(&listing.commit);
        noted.map_err(|error| DataError::writing(&self.options.cache_dir, error))
    }

    /// Commit and files of a revision, with their hashes. hf-hub sets no time limits, hence this request is
    /// our own.
    pub(crate) fn list(&self, repository: &Repository<'_>) -> Result<Listing> {
        let Repository { kind, id, .. } = repository;
        if self.options.offline {
            let problem = format!("HF_HUB_OFFLINE is set and {} {id} is not in the cache", kind.name());
            return Err(self.error(&problem, "unset it, or give a folder that has the files"));
        }
        self.check_reachable()?;
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(self.options.answer_limit))
            .http_status_as_error(false)
            .build()
            .into();
        let address = repository.at(repository.revision).api_url();
        let mut request = agent.get(format!("{}/api/{address}?blobs=true", self.options.endpoint));
        if let Some(token) = &self.options.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(|error| self.unreachable(&error.to_string()))?;
        let code = response.headers().get("X-Error-Code").and_then(|code| code.to_str().ok());
        match (response.status().as_u16(), code) {
            (200, _) => {
                let listing = response.body_mut().read_json().map_err(|error| error.to_string());
                listing
                    .and_then(Listing::checked)
                    .map_err(|problem| self.unreachable(&format!("not an answer of a hub ({problem})")))
            }
            (404, Some("RevisionNotFound")) => Err(self.no_revision(repository)),
            (status, _) => Err(self.refused(repository, status)),
        }
    }

    fn no_revision(&self, repository: &Repository<'_>) -> DataError {
        let Repository { kind, id, revision } = repository;
        let problem = format!("no revision {revision} of {} {id}", kind.name());
        self.error(&problem, "name a branch, tag or commit that its page on the hub lists")
    }

    /// What a status of the hub means to the user.
    fn refused(&self, repository: &Repository<'_>, status: u16) -> DataError {
        let what = format!("{} {}", repository.kind.name(), repository.id);
        let token = if self.options.token.is_some() {
            "use a token (HF_TOKEN) of an account that may read it"
        } else {
            "set HF_TOKEN"
        };
        match status {
            // To strangers the hub does not tell private repositories from those that do not exist.
            401 => self.error(
                &format!("status 401 for {what}: it is private or does not exist"),
                &format!("check the name; if it is private, {token}"),
            ),
            403 => self.error(
                &format!("status 403 for {what}"),
                &format!("accept its terms on its page on the hub and {token}"),
            ),
            404 => self.error(
                &format!("no {what}"),
                "check the name and HF_ENDPOINT, set HF_TOKEN if it is private, or give a folder that has the files",
            ),
            status => self.unreachable(&format!("status {status} for {what}")),
        }
    }

    fn check_reachable(&self) -> Result<()> {
        let known = UNREACHABLE.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&self.options.endpoint) {
            Some(reason) => Err(self.error(reason, REACH)),
            None => Ok(()),
        }
    }

    /// Remembers that the endpoint does not answer, so that the wait happens once.
    fn unreachable(&self, reason: &str) -> DataError {
        let mut known = UNREACHABLE.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = format!("not reachable ({reason})");
        known.insert(self.options.endpoint.clone(), problem.clone());
        self.error(&problem, REACH)
    }

    pub(crate) fn error(&self, problem: &str, fix: &str) -> DataError {
        DataError::Hub {
            endpoint: self.options.endpoint.clone(),
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        }
    }
}

const REACH: &str = "check the network or HF_ENDPOINT, or give a folder that has the files";
