//! The checkpoint from a server on this machine that speaks the hub's protocol.

#[path = "../../../../crates/simcse-data/tests/support/mod.rs"]
mod support;

use std::process::Command;

use support::{COMMIT, Host, Hosted, Server};

use crate::common::transformer::{CHECKPOINT, FILES};
use crate::common::{World, assert_says, error_line, stderr};

const LONG: [&str; 6] =
    ["--set", "train.steps=150", "--set", "train.evaluate_every=20", "--set", "train.checkpoint_every=14"];

/// A world whose checkpoint lies on a server and nowhere else.
fn hosted() -> (World, Server) {
    let world = World::new();
    let hosted = |name: &str| {
        let bytes = std::fs::read(world.path(&format!("{CHECKPOINT}/{name}"))).unwrap();
        if name.ends_with(".safetensors") { Hosted::large(bytes) } else { Hosted::small(bytes) }
    };
    let files = FILES.map(|name| (name, hosted(name)));
    let server = Server::start(Host::new("models/owner/tiny-bert", &files));
    std::fs::remove_dir_all(world.path("models")).unwrap();
    world.set("checkpoint", "\"owner/tiny-bert\"");
    (world, server)
}

fn online(mut command: Command, server: &Server) -> Command {
    command.env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", &server.endpoint);
    command
}

/// Where a file was found is no part of what a run is.
#[test]
fn a_run_that_downloads_is_stopped_and_goes_on_from_the_cache_without_a_network() {
    let (world, server) = hosted();
    let output = world.stopped(online(world.command("out", &LONG), &server), "INT", 20);
    assert_says(&error_line(&output), "stopped by Ctrl-C at step ", &[]);
    let origin = |out: &str| world.json(out, "data.json")["checkpoint"]["origin"].clone();
    assert_eq!(origin("out"), serde_json::json!({ "kind": "hub", "revision": COMMIT }));

    let requests = server.requests().len();
    world.finish("out", &LONG);
    let checkpoint = &world.json("out", "data.json")["checkpoint"];
    assert_eq!(checkpoint["revision"], COMMIT);
    let names: Vec<&str> =
        checkpoint["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(names, FILES.map(|name| format!("hub:owner/tiny-bert/{name}@{COMMIT}")));
    world.finish("whole", &LONG);
    assert_eq!(server.requests().len(), requests, "offline, nothing is asked");
    assert_eq!(world.summary("out")["metrics"], world.summary("whole")["metrics"]);
    let weights = |out: &str| world.run_files(out)["encoder/model.safetensors"].clone();
    assert!(weights("out") == weights("whole"));
}

#[test]
fn what_the_hub_says_comes_in_one_line() {
    for (repository, parts) in [
        ("\"owner/other\"", &["owner/other", "fix: "][..]),
        ("\"owner/tiny-bert\"\nrevision = \"v2\"", &["owner/tiny-bert", "v2", "fix: "]),
    ] {
        let (world, server) = hosted();
        let config = world.read("small.toml").replace("\"owner/tiny-bert\"", repository);
        world.write("small.toml", config.as_bytes());
        let output = online(world.command("out", &[]), &server).output().unwrap();
        assert_says(&error_line(&output), "", parts);
        assert!(world.files("out").is_empty(), "{}", stderr(&output));
    }
}

#[test]
fn weights_that_are_not_those_of_the_list_are_refused() {
    let (world, server) = hosted();
    server.change(|host| {
        host.files.get_mut("model.safetensors").unwrap().hash = Some("0".repeat(64));
    });
    let output = online(world.command("out", &[]), &server).output().unwrap();
    let line = error_line(&output);
    assert_says(&line, "", &["owner/tiny-bert/model.safetensors: its hash is ", "fix: try again"]);
    assert!(world.files("out").is_empty());
}
