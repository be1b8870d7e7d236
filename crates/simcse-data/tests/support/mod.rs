//! A small server on this machine that speaks the hub's protocol, with the faults of a real one.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use sha1::Sha1;
use sha2::{Digest, Sha256};
use simcse_data::HubOptions;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the repository. Large files are stored apart (LFS): the hub answers with a redirection.
#[derive(Clone)]
pub struct Hosted {
    pub bytes: Vec<u8>,
    pub large: bool,
    /// What the server says its hash is; the true one if `None`.
    pub hash: Option<String>,
}

impl Hosted {
    pub fn small(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), large: false, hash: None }
    }

    pub fn large(bytes: impl Into<Vec<u8>>) -> Self {
        Self { large: true, ..Self::small(bytes) }
    }

    fn hash(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match &self.hash {
            Some(hash) => hash.clone(),
            None if self.large => hex(&Sha256::digest(&self.bytes)),
            None => {
                let head = format!("blob {}\0", self.bytes.len());
                hex(&Sha1::digest([head.as_bytes(), &self.bytes].concat()))
            }
        }
    }
}

/// One repository and how the server treats requests for it.
#[derive(Clone, Default)]
pub struct Host {
    /// `datasets/owner/name` or `models/owner/name`.
    pub repository: String,
    pub files: BTreeMap<String, Hosted>,
    /// Commits by branch or tag; `main` is [`COMMIT`] unless given. A commit stands for itself.
    pub branches: BTreeMap<String, String>,
    /// Only requests with this token are answered.
    pub token: Option<String>,
    /// Status of the list of files.
    pub refuse: Option<u16>,
    /// Status of the files themselves (terms not accepted).
    pub refuse_files: Option<u16>,
    /// Requests for files get no answer.
    pub hang: bool,
    /// Wait before the content of a file.
    pub pause: Duration,
    /// The connection breaks after so many bytes, download by download, then no more.
    pub breaks: Vec<usize>,
    /// The list says nothing of hashes and sizes, as some mirrors do.
    pub plain_list: bool,
}

impl Host {
    pub fn new(repository: &str, files: &[(&str, Hosted)]) -> Self {
        let files = files.iter().map(|(name, file)| ((*name).to_owned(), file.clone())).collect();
        Self { repository: repository.to_owned(), files, ..Self::default() }
    }

    fn commit(&self, revision: &str) -> Option<String> {
        let known = || self.branches.get(revision).cloned();
        let fixed = || ["main", COMMIT].contains(&revision).then(|| COMMIT.to_owned());
        known().or_else(fixed)
    }

    fn list(&self, commit: &str) -> String {
        let entry = |(name, file): (&String, &Hosted)| {
            let (hash, size) = (file.hash(), file.bytes.len());
            match (self.plain_list, file.large) {
                (true, _) => format!(r#"{{"rfilename":"{name}"}}"#),
                (false, false) => format!(r#"{{"rfilename":"{name}","blobId":"{hash}","size":{size}}}"#),
                (false, true) => format!(
                    r#"{{"rfilename":"{name}","blobId":"{COMMIT}","size":{size},
                        "lfs":{{"sha256":"{hash}","size":{size},"pointerSize":134}}}}"#
                ),
            }
        };
        let files: Vec<String> = self.files.iter().map(entry).collect();
        format!(r#"{{"sha":"{commit}","siblings":[{}]}}"#, files.join(","))
    }
}

pub struct Server {
    pub endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
    host: Arc<Mutex<Host>>,
}

impl Server {
    pub fn start(host: Host) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server =
            Self { endpoint, requests: Arc::new(Mutex::new(Vec::new())), host: Arc::new(Mutex::new(host)) };
        let (log, host, endpoint) =
            (Arc::clone(&server.requests), Arc::clone(&server.host), server.endpoint.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, host, endpoint) = (Arc::clone(&log), Arc::clone(&host), endpoint.clone());
                std::thread::spawn(move || answer(stream.unwrap(), &host, &log, &endpoint));
            }
        });
        server
    }

    /// Changes what the server does from now on.
    pub fn change(&self, change: impl FnOnce(&mut Host)) {
        change(&mut self.host.lock().unwrap());
    }

    /// Heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Ranges asked for by downloads of a file, but for those of one byte that ask for its size.
    pub fn ranges(&self, file: &str) -> Vec<String> {
        let of_file =
            |head: &String| head.lines().next().unwrap().contains(file).then(|| header(head, "range"));
        let ranges = self.requests().iter().filter_map(of_file).flatten().collect::<Vec<_>>();
        ranges.into_iter().filter(|range| range != "bytes=0-0").collect()
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// The connection breaks after so many bytes.
    broken: Option<usize>,
}

fn reply(status: u16, headers: impl Into<String>, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, headers: headers.into(), body: body.into(), broken: None }
}

fn answer(mut stream: TcpStream, host: &Mutex<Host>, log: &Mutex<Vec<String>>, endpoint: &str) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let head: Vec<String> = lines.map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
    let head = head.join("\n");
    log.lock().unwrap().push(head.clone());
    let Reply { status, headers, body, broken } = route(&head, host, endpoint);
    let length = body.len();
    let top =
        format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let sent = &body[..broken.unwrap_or(length).min(length)];
    drop(stream.write_all(&[top.as_bytes(), sent].concat()));
}

fn route(head: &str, host: &Mutex<Host>, endpoint: &str) -> Reply {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let now = host.lock().unwrap().clone();
    let authorised = match &now.token {
        Some(token) => header(head, "authorization") == Some(format!("Bearer {token}")),
        None => true,
    };
    let list = format!("/api/{}/revision/", now.repository);
    let resolve = format!("/{}/resolve/", now.repository.trim_start_matches("models/"));
    if let Some(stored) = path.strip_prefix("/storage/") {
        return content(&now.files[stored], head, "", host);
    }
    if !authorised && (path.starts_with(&list) || path.starts_with(&resolve)) {
        return reply(401, "X-Error-Code: RepoNotFound\r\n", r#"{"error":"Invalid username or password."}"#);
    }
    if let Some(revision) = path.strip_prefix(&list) {
        let revision = revision.trim_end_matches("?blobs=true").replace("%2F", "/");
        return match (now.refuse, now.commit(&revision)) {
            (Some(status), _) => reply(status, "", "{}"),
            (None, Some(commit)) => reply(200, "", now.list(&commit)),
            (None, None) => reply(404, "X-Error-Code: RevisionNotFound\r\n", "{}"),
        };
    }
    if let Some((revision, name)) = path.strip_prefix(&resolve).and_then(|rest| rest.split_once('/')) {
        return file(&now, revision, name, head, host, endpoint);
    }
    reply(404, "X-Error-Code: RepoNotFound\r\n", r#"{"error":"Repository not found"}"#)
}

fn file(now: &Host, revision: &str, name: &str, head: &str, host: &Mutex<Host>, endpoint: &str) -> Reply {
    if now.hang {
        std::thread::sleep(Duration::from_secs(30));
    }
    if let Some(status) = now.refuse_files {
        return reply(status, "X-Error-Code: GatedRepo\r\n", "");
    }
    let (Some(commit), Some(file)) = (now.commit(revision), now.files.get(name)) else {
        return reply(404, "X-Error-Code: EntryNotFound\r\n", "");
    };
    let hash = file.hash();
    let commit = format!("X-Repo-Commit: {commit}\r\n");
    if file.large {
        let to = format!("Location: {endpoint}/storage/{name}\r\n");
        return reply(302, format!("{commit}X-Linked-Etag: \"{hash}\"\r\nETag: \"other\"\r\n{to}"), "");
    }
    content(file, head, &format!("{commit}ETag: \"{hash}\"\r\n"), host)
}

fn content(file: &Hosted, head: &str, headers: &str, host: &Mutex<Host>) -> Reply {
    let range = header(head, "range").unwrap_or_default();
    let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap_or(("0", ""));
    let total = file.bytes.len();
    let start: usize = start.parse().unwrap();
    if start >= total {
        return reply(416, headers, "");
    }
    let end = end.parse().map_or(total, |end: usize| total.min(end + 1));
    let headers = format!("{headers}Content-Range: bytes {start}-{}/{total}\r\n", end - 1);
    let mut reply = reply(206, headers, &file.bytes[start..end]);
    let pause = host.lock().unwrap().pause;
    std::thread::sleep(pause);
    let mut host = host.lock().unwrap();
    if range != "bytes=0-0" && !host.breaks.is_empty() {
        reply.broken = Some(host.breaks.remove(0));
    }
    reply
}

/// Short limits, and a cache below `folder`.
pub fn options(folder: &Path, endpoint: &str) -> HubOptions {
    HubOptions {
        endpoint: endpoint.to_owned(),
        token: None,
        offline: false,
        cache_dir: folder.join("hub"),
        answer_limit: Duration::from_secs(1),
        first_byte_limit: Duration::from_secs(1),
        stall_limit: Duration::from_secs(1),
    }
}
