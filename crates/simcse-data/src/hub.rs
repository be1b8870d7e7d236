//! Files of data sets on the Hugging Face hub, and the cache that all its clients share.

use crate::error::{DataError, Result};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How to reach the hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Address, without a slash at the end.
    pub endpoint: String,
    /// Access token for gated data sets.
    pub token: Option<String>,
    /// True: only the cache is looked at.
    pub offline: bool,
    /// Folder of the cache (`…/huggingface/hub`).
    pub cache_dir: PathBuf,
    /// Longest wait for the list of files.
    pub answer_limit: Duration,
    /// Longest wait for the first byte of a file. Both together stay below 10 seconds.
    pub first_byte_limit: Duration,
    /// Longest pause within a download.
    pub stall_limit: Duration,
}

impl HubOptions {
    /// As the environment says: `HF_ENDPOINT`, `HF_TOKEN` (or the token file of `hf auth login`),
    /// `HF_HUB_OFFLINE`, `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`.
    pub fn from_env() -> Self {
        let cache_dir = cache_dir();
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let is_on =
            |value: String| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on");
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: variable("HF_TOKEN").or_else(|| Cache::new(cache_dir.clone()).token()),
            offline: variable("HF_HUB_OFFLINE").is_some_and(is_on),
            cache_dir,
            answer_limit: Duration::from_secs(4),
            first_byte_limit: Duration::from_secs(5),
            stall_limit: Duration::from_secs(60),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn cache_dir() -> PathBuf {
    if let Some(folder) = variable("HF_HUB_CACHE") {
        return folder.into();
    }
    if let Some(folder) = variable("HF_HOME") {
        return Path::new(&folder).join("hub");
    }
    user_cache_dir().join("huggingface").join("hub")
}

/// `XDG_CACHE_HOME`, or `.cache` in the home folder.
pub(crate) fn user_cache_dir() -> PathBuf {
    let home = || Path::new(&variable("HOME").unwrap_or_default()).join(".cache");
    variable("XDG_CACHE_HOME").map_or_else(home, PathBuf::from)
}

/// Files of one revision of a data set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HubFiles {
    /// Where they lie, with their names in the repository.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// Commit of the data set's repository.
    pub(crate) revision: String,
}

/// Why endpoints could not be reached, found out once per process.
static UNREACHABLE: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// The hub behind one set of options.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    pub(crate) options: HubOptions,
}

#[derive(Deserialize)]
struct RepositoryInfo {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Hub {
    /// The files that match all `patterns` in the cached main revision of a data set.
    pub(crate) fn cached(&self, id: &str, patterns: &[String]) -> Option<HubFiles> {
        let folder = self.options.cache_dir.join(format!("datasets--{}", id.replace('/', "--")));
        let revision = std::fs::read_to_string(folder.join("refs").join("main")).ok()?.trim().to_owned();
        let snapshot = folder.join("snapshots").join(&revision);
        let files = crate::source::expand(&snapshot, patterns)?;
        Some(HubFiles { files, revision })
    }

    /// Downloads the files that match all `patterns` into the cache. `Ok(None)` if the data set lacks one.
    pub(crate) fn download(&self, id: &str, patterns: &[String]) -> Result<Option<HubFiles>> {
        if self.options.offline {
            return Err(self.error("HF_HUB_OFFLINE is set", "unset it, or give a folder that has the data"));
        }
        let info = self.info(id)?;
        let listed: Vec<&str> = info.siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect();
        let Some(names) = select(&listed, patterns) else { return Ok(None) };
        let mut files = Vec::new();
        for name in names {
            files.push((self.fetch(id, name)?, name.to_owned()));
        }
        Ok(Some(HubFiles { files, revision: info.sha }))
    }

    /// The list of files. hf-hub sets no time limits, hence this request is our own.
    fn info(&self, id: &str) -> Result<RepositoryInfo> {
        self.check_reachable()?;
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(self.options.answer_limit))
            .http_status_as_error(false)
            .build()
            .into();
        let mut request = agent.get(format!("{}/api/datasets/{id}/revision/main", self.options.endpoint));
        if let Some(token) = &self.options.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(|error| self.unreachable(&error.to_string()))?;
        match response.status().as_u16() {
            200 => response
                .body_mut()
                .read_json()
                .map_err(|error| self.unreachable(&format!("not an answer of a hub ({error})"))),
            status @ (401 | 403) => Err(self.error(
                &format!("status {status} for data set {id}"),
                "accept its terms on the hub and set HF_TOKEN",
            )),
            404 => Err(self.error(
                &format!("no data set {id}"),
                "check HF_ENDPOINT, or give a folder that has the data",
            )),
            status => Err(self.unreachable(&format!("status {status} for data set {id}"))),
        }
    }

    fn fetch(&self, id: &str, name: &str) -> Result<PathBuf> {
        self.check_reachable()?;
        let api = self.api()?;
        let repo = Repo::new(id.to_owned(), RepoType::Dataset);
        let bytes = Arc::new(AtomicU64::new(0));
        let watch = Watch(Arc::clone(&bytes));
        let (sender, receiver) = channel();
        let wanted = name.to_owned();
        // A thread, since a connection that hangs can only be left, not stopped.
        std::thread::spawn(move || {
            // The receiver is gone if we gave up; then there is no one to tell.
            drop(sender.send(api.repo(repo).download_with_progress(&wanted, watch)));
        });
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            match receiver.recv_timeout(Duration::from_millis(50)) {
                Ok(Ok(path)) => return Ok(path),
                Ok(Err(error)) => {
                    let fix = "try again, or give a folder that has the data";
                    return Err(self.error(&format!("{id}/{name}: {error}"), fix));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.error(&format!("{id}/{name}: the download broke off"), "try again"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = bytes.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            let limit = if seen == 0 { self.options.first_byte_limit } else { self.options.stall_limit };
            if since.elapsed() > limit {
                return Err(self.unreachable(&format!("{id}/{name}: no data for {} s", limit.as_secs_f32())));
            }
        }
    }

    fn api(&self) -> Result<Api> {
        ApiBuilder::from_cache(Cache::new(self.options.cache_dir.clone()))
            .with_endpoint(self.options.endpoint.clone())
            .with_token(self.options.token.clone())
            .with_progress(false)
            .build()
            .map_err(|error| self.error(&error.to_string(), "check the environment variables of the hub"))
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

    fn error(&self, problem: &str, fix: &str) -> DataError {
        DataError::Hub {
            endpoint: self.options.endpoint.clone(),
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        }
    }
}

const REACH: &str = "check the network or HF_ENDPOINT, or give a folder that has the data";

/// Counts bytes, so that a hanging download is noticed.
struct Watch(Arc<AtomicU64>);

impl Progress for Watch {
    fn init(&mut self, _size: usize, _filename: &str) {}

    fn update(&mut self, size: usize) {
        self.0.fetch_add(size as u64, Ordering::Relaxed);
    }

    fn finish(&mut self) {}
}

/// All names that match, pattern by pattern, in the order of the alphabet; `None` if a pattern has none.
pub(crate) fn select<'a>(names: &[&'a str], patterns: &[String]) -> Option<Vec<&'a str>> {
    let mut selected = Vec::new();
    for pattern in patterns {
        let mut matching: Vec<&str> = names.iter().copied().filter(|name| matches(pattern, name)).collect();
        if matching.is_empty() {
            return None;
        }
        matching.sort_unstable();
        selected.extend(matching);
    }
    Some(selected)
}

/// Whether `name` follows `pattern`, where `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        assert!(matches("data/test-*.parquet", "data/test-00000-of-00001-ab.parquet"));
        assert!(!matches("data/test-*.parquet", "data/train-00000-of-00001.parquet"));
        assert!(matches("a*b*c", "abbc") && !matches("a*b*c", "acb"));
        assert!(matches("test.txt", "test.txt") && !matches("test.txt", "test.txt.gz"));
    }

    #[test]
    fn every_pattern_needs_a_file() {
        let names = ["b-1.csv", "b-0.csv", "a.csv"];
        let patterns = |list: &[&str]| list.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            select(&names, &patterns(&["b-*.csv", "a.csv"])),
            Some(vec!["b-0.csv", "b-1.csv", "a.csv"])
        );
        assert_eq!(select(&names, &patterns(&["a.csv", "c.csv"])), None);
    }
}
