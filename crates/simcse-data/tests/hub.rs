//! The hub path from end to end, against a small server on this machine that speaks the hub's protocol.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use simcse_data::{DataError, DataSource, HubOptions, Origin, Split, load_pairs};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const TEXT: &str = "甲\t乙\t1\n丙\t丁\t0\n";

/// What the server does with a request for a file.
#[derive(Clone, Copy, PartialEq)]
enum Files {
    Serve,
    Hang,
}

struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Knows only the data set `shibing624/nli_zh`; answers `status` for its list of files.
    fn start(status: u16, files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let log = Arc::clone(&log);
                std::thread::spawn(move || answer(stream.unwrap(), status, files, &log));
            }
        });
        Self { endpoint, requests }
    }
}

fn answer(mut stream: TcpStream, status: u16, files: Files, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let head: Vec<String> =
        lines.by_ref().map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
    let head = head.join("\n");
    log.lock().unwrap().push(head.clone());
    let path = head.split(' ').nth(1).unwrap_or_default();
    let has = |text: &str| head.to_lowercase().contains(text);
    let (status, headers, body) = match path {
        "/api/datasets/shibing624/nli_zh/revision/main" => {
            let files =
                ["README.md", "LCQMC/LCQMC.test.data"].map(|name| format!("{{\"rfilename\":\"{name}\"}}"));
            (status, String::new(), format!("{{\"sha\":\"{REVISION}\",\"siblings\":[{}]}}", files.join(",")))
        }
        "/datasets/shibing624/nli_zh/resolve/main/LCQMC/LCQMC.test.data" => {
            if files == Files::Hang {
                std::thread::sleep(Duration::from_secs(30));
            }
            let end = if has("range: bytes=0-0") { 1 } else { TEXT.len() };
            let headers = format!(
                "ETag: \"an-etag\"\r\nX-Repo-Commit: {REVISION}\r\nContent-Range: bytes 0-{}/{}\r\n",
                end - 1,
                TEXT.len()
            );
            (206, headers, String::from_utf8_lossy(&TEXT.as_bytes()[..end]).into_owned())
        }
        _ => (404, String::new(), "{\"error\":\"Repository not found\"}".to_owned()),
    };
    // One byte of a Chinese character is no text, but only its presence matters.
    let length = body.len();
    let reply = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    drop(stream.write_all(reply.as_bytes()));
}

fn source(folder: &Path, options: HubOptions) -> DataSource {
    DataSource::with_places(None, folder.join("data"), folder.join("cache"), options).unwrap()
}

fn options(folder: &Path, endpoint: &str) -> HubOptions {
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

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_data_set_is_downloaded_once_and_then_read_from_the_cache() {
    let folder = folder();
    let server = Server::start(200, Files::Serve);
    let token = Some("secret".to_owned());
    let online = HubOptions { token, ..options(folder.path(), &server.endpoint) };
    let set = load_pairs(&source(folder.path(), online.clone()), "lcqmc", Split::Test).unwrap();
    assert_eq!(set.origin, Origin::Hub { revision: REVISION.to_owned() });
    assert_eq!(set.pairs().len(), 2);
    assert_eq!(set.files[0].path, format!("hub:shibing624/nli_zh/LCQMC/LCQMC.test.data@{REVISION}"));
    assert!(set.remarks.contains(&"2 rows, the catalogue says 12500".to_owned()), "{:?}", set.remarks);
    let requests = server.requests.lock().unwrap().len();
    assert!(server.requests.lock().unwrap().iter().all(|head| head.to_lowercase().contains("bearer secret")));

    let again = load_pairs(&source(folder.path(), online.clone()), "lcqmc", Split::Test).unwrap();
    assert_eq!(again.origin, Origin::Cache { revision: Some(REVISION.to_owned()) });
    assert_eq!((again.rows, &again.files), (set.rows, &set.files));
    assert_eq!(server.requests.lock().unwrap().len(), requests, "the cache needs no request");
    let offline = HubOptions { offline: true, ..online };
    assert!(load_pairs(&source(folder.path(), offline), "lcqmc", Split::Test).is_ok());
}

fn why_missing(source: &DataSource) -> String {
    match load_pairs(source, "lcqmc", Split::Test).unwrap_err() {
        DataError::Missing { looked_in, .. } => looked_in.join("\n"),
        other => panic!("{other}"),
    }
}

#[test]
fn what_the_hub_does_not_have_is_missing() {
    let folder = folder();
    let server = Server::start(404, Files::Serve);
    let reason = why_missing(&source(folder.path(), options(folder.path(), &server.endpoint)));
    assert!(
        reason.contains("no data set C-MTEB/LCQMC") && reason.contains("no data set shibing624/nli_zh"),
        "{reason}"
    );
}

#[test]
fn a_gated_data_set_is_said_to_be_gated() {
    let folder = folder();
    let server = Server::start(403, Files::Serve);
    let reason = why_missing(&source(folder.path(), options(folder.path(), &server.endpoint)));
    assert!(reason.contains("status 403 for data set shibing624/nli_zh"), "{reason}");
}

#[test]
fn offline_asks_nobody() {
    let folder = folder();
    let server = Server::start(200, Files::Serve);
    let offline = HubOptions { offline: true, ..options(folder.path(), &server.endpoint) };
    assert!(why_missing(&source(folder.path(), offline)).contains("HF_HUB_OFFLINE is set"));
    assert!(server.requests.lock().unwrap().is_empty());
}

#[test]
fn the_limits_of_a_user_add_up_to_less_than_ten_seconds() {
    let limits = HubOptions::from_env();
    assert!(limits.answer_limit + limits.first_byte_limit < Duration::from_secs(10));
}

/// Fails to reach the hub, then checks that it took no longer than the limit and that the second try knows.
fn assert_unreachable_soon(endpoint: &str) {
    let folder = folder();
    let source = source(folder.path(), options(folder.path(), endpoint));
    let start = Instant::now();
    let reason = why_missing(&source);
    assert!(reason.contains("not reachable"), "{reason}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let start = Instant::now();
    assert!(why_missing(&source).contains("not reachable"));
    assert!(start.elapsed() < Duration::from_millis(200), "asked again: {:?}", start.elapsed());
    assert!(!folder.path().join("hub/datasets--shibing624--nli_zh/snapshots").exists(), "half-written");
}

#[test]
fn a_closed_port_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_unreachable_soon(&format!("http://{free}"));
}

#[test]
fn a_server_that_never_answers_is_unreachable_after_the_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_unreachable_soon(&format!("http://{}", silent.local_addr().unwrap()));
}

#[test]
fn a_file_that_never_comes_is_unreachable_after_the_limit() {
    let server = Server::start(200, Files::Hang);
    assert_unreachable_soon(&server.endpoint);
}
