//! Reading whole files and writing whole files.

use crate::error::{DataError, Result};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::path::Path;

/// The bytes of a file and its hash.
pub(crate) struct FileBytes {
    pub(crate) bytes: Vec<u8>,
    /// Of the file as stored (before decompression), in lower-case hex.
    pub(crate) sha256: String,
    /// Size as stored.
    pub(crate) stored_bytes: u64,
}

/// Reads a file, decompressing it if the name ends in `.gz`.
pub(crate) fn read_bytes(path: &Path) -> Result<FileBytes> {
    let stored = std::fs::read(path).map_err(|source| DataError::reading(path, source))?;
    let sha256 = sha256_hex(&stored);
    let stored_bytes = stored.len() as u64;
    let bytes = if path.extension().is_some_and(|extension| extension == "gz") {
        let mut decompressed = Vec::new();
        MultiGzDecoder::new(stored.as_slice())
            .read_to_end(&mut decompressed)
            .map_err(|source| DataError::reading(path, source))?;
        decompressed
    } else {
        stored
    };
    Ok(FileBytes { bytes, sha256, stored_bytes })
}

/// Lower-case hex of the SHA-256 of `bytes`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a file without a byte order mark.
///
/// # Errors
/// [`DataError::Encoding`] with the line of the first invalid byte; [`DataError::Empty`] if there is
/// nothing but blanks.
pub(crate) fn decode<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        DataError::Encoding { file: file.to_owned(), line }
    })?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(DataError::Empty { file: file.to_owned() });
    }
    Ok(text)
}

/// Writes a file whole or not at all: into a temporary file beside it, then renamed.
///
/// # Errors
/// [`DataError::Io`] if the folder cannot be made or written, or the disk is full; then `path` is as it was.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<()> {
    let fail = |source| DataError::writing(path, source);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut temporary = as_others_are().tempfile_in(folder).map_err(fail)?;
    // Through the file itself: `NamedTempFile` adds the temporary's path to an error.
    temporary.as_file_mut().write_all(contents).map_err(fail)?;
    temporary.as_file().sync_all().map_err(fail)?;
    temporary.persist(path).map_err(|error| fail(error.error))?;
    Ok(())
}

/// A temporary file with the rights that any new file has, less the user's umask: results are for the whole group. By
/// itself it would be for its owner alone.
#[cfg(unix)]
fn as_others_are() -> tempfile::Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut builder = tempfile::Builder::new();
    builder.permissions(std::fs::Permissions::from_mode(0o666));
    builder
}

#[cfg(not(unix))]
fn as_others_are() -> tempfile::Builder<'static, 'static> {
    tempfile::Builder::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_rights_of_any_other() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (folder.path().join("ours"), folder.path().join("other"));
        write_whole(&ours, b"").unwrap();
        std::fs::write(&other, b"").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&other));
    }

    #[test]
    fn invalid_utf8_names_its_line() {
        let error = decode("bad.txt", b"one\ntwo\n\xff\xfe\n").unwrap_err().to_string();
        assert!(error.starts_with("bad.txt:3: not valid UTF-8; fix: "), "{error}");
    }

    #[test]
    fn empty_file_is_an_error() {
        let error = decode("empty.txt", "\u{feff}\r\n \n".as_bytes()).unwrap_err();
        assert!(matches!(error, DataError::Empty { .. }), "{error}");
    }

    #[test]
    fn sha256_is_the_standard_one() {
        // printf abc | sha256sum
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn gzip_is_read_through_and_hashed_as_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"{}\n").unwrap();
        let stored = encoder.finish().unwrap();
        write_whole(&path, &stored).unwrap();
        let read = read_bytes(&path).unwrap();
        assert_eq!((read.bytes.as_slice(), read.sha256), (b"{}\n".as_slice(), sha256_hex(&stored)));
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.txt");
        write_whole(&path, b"old").unwrap();
        let blocked = path.join("below-a-file.txt");
        let error = write_whole(&blocked, b"new").unwrap_err().to_string();
        assert!(error.contains("fix: check the rights"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays behind");
    }
}
