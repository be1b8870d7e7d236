//! Download of one file: watched for standstill, resumed where a connection broke, checked by its hash.

use super::verify::hash_like;
use super::{Hub, ListedFile, Listing, Repository};
use crate::error::{DataError, Result};
use hf_hub::Cache;
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often one call tries to get a file whose connection breaks. The next call goes on where this one
/// stopped.
const TRIES: u32 = 5;
/// Pause after the first broken connection; it doubles each time.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a try brought no file.
enum Failure {
    /// The connection broke: what came is kept, another try goes on from there.
    Broken(String),
    /// Another try would not help.
    Final(DataError),
}

impl Hub {
    /// Downloads a listed file into the cache, unless it is there, and checks its hash.
    pub(crate) fn fetch(
        &self,
        repository: &Repository<'_>,
        listing: &Listing,
        name: &str,
    ) -> Result<PathBuf> {
        let Some(file) = listing.file(name) else {
            let what = format!("{} {} has no file {name}", repository.kind.name(), repository.id);
            return Err(self.error(&what, "choose another revision"));
        };
        let folder = self.options.cache_dir.join(repository.at(&listing.commit).folder_name());
        let path = folder.join("snapshots").join(&listing.commit).join(name);
        let _lock = self.lock(&folder)?;
        let mut tries = 0;
        // The file may be there from before, or another process fetched it while this one waited.
        while !path.is_file() {
            self.drop_overfull_part(&folder, file)?;
            match self.try_fetch(repository, &listing.commit, name) {
                Ok(found) if found == path => break,
                Ok(_) => {
                    let problem = format!("{}/{name}: it comes from another commit", repository.id);
                    return Err(self.error(&problem, "check HF_ENDPOINT: a mirror may be out of step"));
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Broken(reason)) => {
                    tries += 1;
                    if tries == TRIES {
                        let problem = format!("{}/{name}: broke off {TRIES} times ({reason})", repository.id);
                        return Err(self.error(&problem, "try again: what has come is kept"));
                    }
                    std::thread::sleep(PAUSE * 2_u32.pow(tries - 1));
                }
            }
        }
        self.check_hash(repository, file, &path)?;
        Ok(path)
    }

    /// Makes processes that want the same repository wait for one another; hf-hub itself gives up.
    fn lock(&self, folder: &Path) -> Result<File> {
        let locks = self.options.cache_dir.join(".locks").join("simcse");
        let path = locks.join(folder.file_name().unwrap_or_default()).with_extension("lock");
        let fail = |error| DataError::writing(&path, error);
        std::fs::create_dir_all(&locks).map_err(fail)?;
        let file = File::create(&path).map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(file)
    }

    /// hf-hub cannot go on from a part that is whole (the process ended before it was renamed) or too long.
    fn drop_overfull_part(&self, folder: &Path, file: &ListedFile) -> Result<()> {
        let (Some(hash), Some(size)) = (file.hash(), file.size) else { return Ok(()) };
        let part = folder.join("blobs").join(hash).with_extension("part");
        match std::fs::metadata(&part) {
            Ok(found) if found.len() >= size => {
                std::fs::remove_file(&part).map_err(|error| DataError::writing(&part, error))
            }
            _ => Ok(()),
        }
    }

    fn try_fetch(
        &self,
        repository: &Repository<'_>,
        commit: &str,
        name: &str,
    ) -> std::result::Result<PathBuf, Failure> {
        let unreachable =
            |reason: &str| Failure::Final(self.unreachable(&format!("{}/{name}: {reason}", repository.id)));
        self.check_reachable().map_err(Failure::Final)?;
        let api = self.api().map_err(Failure::Final)?.repo(repository.at(commit));
        let bytes = Arc::new(AtomicU64::new(0));
        let watch = Watch(Arc::clone(&bytes));
        let (sender, receiver) = channel();
        let wanted = name.to_owned();
        // A thread, since a connection that hangs can only be left, not stopped.
        std::thread::spawn(move || {
            // The receiver is gone if we gave up; then there is no one to tell.
            drop(sender.send(api.download_with_progress(&wanted, watch)));
        });
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            match receiver.recv_timeout(Duration::from_millis(50)) {
                Ok(result) => return result.map_err(|error| self.failure(repository, name, &error)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Broken("the download panicked".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = bytes.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            let limit = if seen == 0 { self.options.first_byte_limit } else { self.options.stall_limit };
            if since.elapsed() > limit {
                return Err(unreachable(&format!("no data for {} s", limit.as_secs_f32())));
            }
        }
    }

    /// Whether another try may help.
    fn failure(&self, repository: &Repository<'_>, name: &str, error: &ApiError) -> Failure {
        let reason = error.to_string();
        let last = |fix| Failure::Final(self.error(&format!("{}/{name}: {reason}", repository.id), fix));
        match error {
            ApiError::IoError(io) if is_of_the_disk(io.kind()) => {
                last("check the rights of the hub's cache and the free space of the disk")
            }
            ApiError::LockAcquisition(_) => last("wait until the other process has downloaded it"),
            ApiError::IoError(_) | ApiError::InvalidResume => Failure::Broken(reason),
            ApiError::RequestError(request) => match **request {
                ureq::Error::StatusCode(status @ (401 | 403)) => {
                    Failure::Final(self.refused(repository, status))
                }
                ureq::Error::StatusCode(404) => last("choose another revision"),
                _ => Failure::Broken(reason),
            },
            _ => last("try again, or give a folder that has the files"),
        }
    }

    /// A file with another hash is an error and is removed, so that the next call fetches it afresh.
    fn check_hash(&self, repository: &Repository<'_>, file: &ListedFile, path: &Path) -> Result<()> {
        let blob = std::fs::canonicalize(path).map_err(|error| DataError::reading(path, error))?;
        // Where the list has no hashes: the cache names a file by the hash that came with it.
        let named = blob.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(wanted) = file.hash().map(str::to_owned).or(named) else { return Ok(()) };
        let Some(found) = hash_like(path, &wanted)? else { return Ok(()) };
        if found == wanted {
            return Ok(());
        }
        for bad in [path, &blob] {
            match std::fs::remove_file(bad) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(DataError::writing(bad, error));
                }
                _ => {}
            }
        }
        let problem = format!("{}/{}: its hash is {found}, not {wanted}", repository.id, file.name);
        Err(self.error(&problem, "try again (the file was removed); if it persists, check HF_ENDPOINT"))
    }

    fn api(&self) -> Result<Api> {
        ApiBuilder::from_cache(Cache::new(self.options.cache_dir.clone()))
            .with_endpoint(self.options.endpoint.clone())
            .with_token(self.options.token.clone())
            .with_progress(false)
            // Tries of its own start at byte 0 and append, if the first brings nothing.
            .with_retries(0)
            .build()
            .map_err(|error| self.error(&error.to_string(), "check the environment variables of the hub"))
    }
}

impl ListedFile {
    /// SHA-256 of a large file, git's SHA-1 of another.
    fn hash(&self) -> Option<&str> {
        match &self.lfs {
            Some(large) => large.sha256.as_deref(),
            None => self.git_sha1.as_deref(),
        }
    }
}

fn is_of_the_disk(kind: ErrorKind) -> bool {
    use ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem)
}

/// Counts bytes, so that a hanging download is noticed.
struct Watch(Arc<AtomicU64>);

impl Progress for Watch {
    fn init(&mut self, _size: usize, _filename: &str) {}

    fn update(&mut self, size: usize) {
        self.0.fetch_add(size as u64, Ordering::Relaxed);
    }

    fn finish(&mut self) {}
}
