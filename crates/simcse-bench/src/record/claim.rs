//! Who is at a run: of two processes that come to it at the same time, one.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{RUN_NAME, is_run_name};

/// A run that this process is at, until this value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// The system holds the lock for as long as this is open.
    _file: File,
}

impl Claim {
    /// Takes the run, or says by `None` that another process is at it.
    ///
    /// Over a network, the file system has to support locks; where it does not, give each machine a shard of its own.
    ///
    /// # Errors
    /// When a name is no plain folder name, or the file of the lock cannot be made or locked; the message names it.
    pub fn take(results: &Path, experiment: &str, config: &str, seed: u64) -> Result<Option<Self>> {
        for name in [experiment, config] {
            ensure!(is_run_name(name), "run name {name:?}; fix: {RUN_NAME}");
        }
        let folder = results.join(".locks").join(experiment);
        let path = folder.join(format!("{config}-s{seed}.lock"));
        let problem =
            || format!("{}: cannot be locked; fix: check the rights and the disk of --out", path.display());
        std::fs::create_dir_all(&folder).with_context(problem)?;
        loop {
            let file = OpenOptions::new().create(true).append(true).open(&path).with_context(problem)?;
            match file.try_lock() {
                // Whoever had it has removed the file since it was opened: the lock is on nothing that others see.
                Ok(()) if !is_at(&file, &path).with_context(problem)? => {}
                Ok(()) => return Ok(Some(Self { path, _file: file })),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).with_context(problem),
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While it is locked; where that is not possible, an empty file stays.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Whether the path still names this file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (open, named) = (file.metadata()?, std::fs::metadata(path));
    Ok(named.is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}

/// Elsewhere an open file is not removed.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> std::io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let results = tempfile::tempdir().unwrap();
        let take = |config| Claim::take(results.path(), "textcnn", config, 1).unwrap();
        let first = take("base").unwrap();
        assert!(take("base").is_none(), "taken");
        assert!(take("other").is_some(), "another run");
        drop(first);
        assert!(take("base").is_some(), "given back");
        assert_eq!(std::fs::read_dir(results.path().join(".locks/textcnn")).unwrap().count(), 0);
        assert!(Claim::take(results.path(), "a/b", "base", 1).is_err());
    }

    /// Threads that take and give back the same run all the time are never at it together.
    #[test]
    fn a_lock_on_a_removed_file_counts_for_nothing() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (results, inside) = (tempfile::tempdir().unwrap(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let Some(_claim) = Claim::take(results.path(), "textcnn", "base", 1).unwrap() else {
                            continue;
                        };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
