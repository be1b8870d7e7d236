//! Hashes by which the hub identifies a file: SHA-256 of large files (LFS), git's SHA-1 of the others.

use crate::error::{DataError, Result};
use crate::files::hex;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// SHA-256 of a file in lower-case hex, and its size, without reading it into memory.
pub(crate) fn sha256_of_file(path: &Path) -> Result<(String, u64)> {
    digest_of_file(path, Sha256::new())
}

/// The hash of a file, of the kind that `wanted` is of; `None` if it is of no known kind.
pub(crate) fn hash_like(path: &Path, wanted: &str) -> Result<Option<String>> {
    if !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    match wanted.len() {
        64 => Ok(Some(sha256_of_file(path)?.0)),
        40 => {
            let size = std::fs::metadata(path).map_err(|error| DataError::reading(path, error))?.len();
            // What git hashes of a file is its content behind this head.
            let hasher = Sha1::new_with_prefix(format!("blob {size}\0"));
            Ok(Some(digest_of_file(path, hasher)?.0))
        }
        _ => Ok(None),
    }
}

fn digest_of_file(path: &Path, mut hasher: impl Digest) -> Result<(String, u64)> {
    let fail = |error| DataError::reading(path, error);
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(fail)?);
    let (mut buffer, mut size) = (vec![0; 1 << 16], 0);
    loop {
        match reader.read(&mut buffer).map_err(fail)? {
            0 => return Ok((hex(&hasher.finalize()), size)),
            read => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'hello\n' > f; sha256sum f; git hash-object f; md5sum f`
    #[test]
    fn hashes_are_those_of_sha256sum_and_git() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(sha256_of_file(file.path()).unwrap(), (sha256.to_owned(), 6));
        assert_eq!(hash_like(file.path(), &"0".repeat(64)).unwrap().as_deref(), Some(sha256));
        assert_eq!(hash_like(file.path(), &"0".repeat(40)).unwrap().as_deref(), Some(git));
        assert_eq!(hash_like(file.path(), "b1946ac92492d2347c6235b4d2611184").unwrap(), None);
        assert_eq!(hash_like(file.path(), &"x".repeat(40)).unwrap(), None);
    }
}
