//! `metrics.jsonl`, appended line by line: whole lines or nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value};

/// Where lines go: a file, or in tests something that fills up.
pub(super) trait Storage: Write {
    /// Cuts everything beyond `length` bytes off.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Storage for File {
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// An open log.
#[derive(Debug)]
pub(super) struct MetricsLog<S> {
    storage: S,
    length: u64,
}

impl MetricsLog<File> {
    /// Opens the log of a run; `keep` are the lines that are in it already.
    pub(super) fn open(path: &Path, keep: &str) -> anyhow::Result<Self> {
        simcse_data::write_whole(path, keep.as_bytes())?;
        let storage = OpenOptions::new().append(true).open(path).with_context(|| {
            format!("{}: cannot be opened; fix: check the rights of the folder", path.display())
        })?;
        Ok(Self { storage, length: keep.len() as u64 })
    }

    /// A log on a device that is full from the start.
    #[cfg(test)]
    pub(super) fn on_full_device() -> Self {
        let storage = OpenOptions::new().write(true).open("/dev/full").unwrap();
        Self { storage, length: 0 }
    }
}

impl<S: Storage> MetricsLog<S> {
    /// Appends one line and hands it to the system. If that fails, the line is cut off again.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let bytes = format!("{line}\n");
        let written = self.storage.write_all(bytes.as_bytes()).and_then(|()| self.storage.flush());
        match written {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If even this fails, readers still drop a last line without an end.
                drop(self.storage.truncate(self.length));
                Err(error)
            }
        }
    }
}

/// One line of the log: `{"step": step, ...values}`.
pub(super) fn line(step: u64, values: &Map<String, Value>) -> String {
    let mut object = Map::new();
    object.insert("step".to_owned(), step.into());
    object.extend(values.iter().map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(object).to_string()
}

/// The whole lines of `log` up to and including `step`: what a run that resumes from a checkpoint of that
/// step had logged by then. A last line that was cut short is dropped.
///
/// # Errors
/// When a whole line is no object with a `step`; the message names its number.
pub(super) fn lines_until(log: &str, step: u64) -> anyhow::Result<String> {
    let mut kept = String::new();
    for (number, line) in log.split_inclusive('\n').enumerate() {
        if !line.ends_with('\n') {
            break;
        }
        let logged = serde_json::from_str::<Value>(line).ok().and_then(|value| value.get("step")?.as_u64());
        let logged = logged.with_context(|| {
            format!("line {}: no object with a step; fix: start the run afresh", number + 1)
        })?;
        if logged <= step {
            kept.push_str(line);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for some bytes; takes as much of a write as fits, as a real one does.
    struct SmallDisk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room - self.bytes.len());
            if taken == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            self.bytes.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Storage for SmallDisk {
        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.bytes.truncate(length as usize);
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_whole_lines() {
        let mut log = MetricsLog { storage: SmallDisk { bytes: Vec::new(), room: 20 }, length: 0 };
        log.append(r#"{"step":1}"#).unwrap();
        let error = log.append(r#"{"step":2}"#).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(log.storage.bytes, b"{\"step\":1}\n");
    }

    #[test]
    fn resume_keeps_lines_up_to_the_step_and_drops_a_cut_one() {
        let log = "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"dev\":1}\n{\"step\":3}\n{\"st";
        assert_eq!(lines_until(log, 2).unwrap(), "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"dev\":1}\n");
        let error = lines_until("{\"step\":1}\nbroken\n", 2).unwrap_err().to_string();
        assert!(error.starts_with("line 2: "), "{error}");
    }
}
