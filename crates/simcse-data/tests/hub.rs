//! The hub path from end to end, against a small server on this machine that speaks the hub's protocol.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use simcse_data::{DataError, DataSource, HubOptions, Origin, Split, load_pairs};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{COMMIT, Host, Hosted, Server, options};
use tempfile::TempDir;

const TEXT: &str = "甲\t乙\t1\n丙\t丁\t0\n";

/// Knows only the data set `shibing624/nli_zh`.
fn host() -> Host {
    let files = [("README.md", Hosted::small("read")), ("LCQMC/LCQMC.test.data", Hosted::small(TEXT))];
    Host::new("datasets/shibing624/nli_zh", &files)
}

fn source(folder: &Path, options: HubOptions) -> DataSource {
    DataSource::with_places(None, folder.join("data"), folder.join("cache"), options).unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_data_set_is_downloaded_once_and_then_read_from_the_cache() {
    let folder = folder();
    let token = Some("secret".to_owned());
    let server = Server::start(Host { token: token.clone(), ..host() });
    let online = HubOptions { token, ..options(folder.path(), &server.endpoint) };
    let set = load_pairs(&source(folder.path(), online.clone()), "lcqmc", Split::Test).unwrap();
    assert_eq!(set.origin, Origin::Hub { revision: COMMIT.to_owned() });
    assert_eq!(set.pairs().len(), 2);
    assert_eq!(set.files[0].path, format!("hub:shibing624/nli_zh/LCQMC/LCQMC.test.data@{COMMIT}"));
    assert!(set.remarks.contains(&"2 rows, the catalogue says 12500".to_owned()), "{:?}", set.remarks);
    let requests = server.requests().len();
    assert!(server.requests().iter().all(|head| head.to_lowercase().contains("bearer secret")));

    let again = load_pairs(&source(folder.path(), online.clone()), "lcqmc", Split::Test).unwrap();
    assert_eq!(again.origin, Origin::Cache { revision: Some(COMMIT.to_owned()) });
    assert_eq!((again.rows, &again.files), (set.rows, &set.files));
    assert_eq!(server.requests().len(), requests, "the cache needs no request");
    let offline = HubOptions { offline: true, ..online };
    assert!(load_pairs(&source(folder.path(), offline), "lcqmc", Split::Test).is_ok());
}

#[test]
fn a_file_that_is_not_the_listed_one_is_not_kept() {
    let folder = folder();
    let server = Server::start(host());
    server.change(|host| {
        host.files.get_mut("LCQMC/LCQMC.test.data").unwrap().hash = Some("0".repeat(40));
    });
    let source = source(folder.path(), options(folder.path(), &server.endpoint));
    let reason = why_missing(&source);
    assert!(reason.contains("LCQMC.test.data: its hash is "), "{reason}");
    server.change(|host| *host = self::host());
    assert!(load_pairs(&source, "lcqmc", Split::Test).is_ok(), "the next call fetches it afresh");
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
    let server = Server::start(Host::default());
    let reason = why_missing(&source(folder.path(), options(folder.path(), &server.endpoint)));
    assert!(
        reason.contains("no data set C-MTEB/LCQMC") && reason.contains("no data set shibing624/nli_zh"),
        "{reason}"
    );
}

#[test]
fn a_gated_data_set_is_said_to_be_gated() {
    let folder = folder();
    let server = Server::start(Host { refuse: Some(403), ..host() });
    let reason = why_missing(&source(folder.path(), options(folder.path(), &server.endpoint)));
    assert!(reason.contains("status 403 for data set shibing624/nli_zh"), "{reason}");
}

#[test]
fn offline_asks_nobody() {
    let folder = folder();
    let server = Server::start(host());
    let offline = HubOptions { offline: true, ..options(folder.path(), &server.endpoint) };
    assert!(why_missing(&source(folder.path(), offline)).contains("HF_HUB_OFFLINE is set"));
    assert!(server.requests().is_empty());
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
    let server = Server::start(Host { hang: true, ..host() });
    assert_unreachable_soon(&server.endpoint);
}
