//! How the hub is reached, and where its cache lies.

use hf_hub::Cache;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to reach the hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Address, without a slash at the end.
    pub endpoint: String,
    /// Access token for private repositories and for those with terms to be accepted.
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
