//! The rules of the house that no compiler checks: layers, where `unsafe` and writing may stand, sizes.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates, and candle, each crate may depend on.
const LAYERS: [(&str, &[&str]); 9] = [
    ("simcse-random", &[]),
    ("simcse-data", &["simcse-random"]),
    ("simcse-ops", &["candle", "simcse-random"]),
    ("simcse-losses", &["candle", "simcse-ops"]),
    ("simcse-model", &["candle", "simcse-data", "simcse-ops", "simcse-random"]),
    (
        "simcse-train",
        &["candle", "simcse-data", "simcse-losses", "simcse-model", "simcse-ops", "simcse-random"],
    ),
    (
        "simcse-bench",
        &[
            "candle",
            "simcse-data",
            "simcse-losses",
            "simcse-model",
            "simcse-ops",
            "simcse-random",
            "simcse-train",
        ],
    ),
    (
        "simcse-cli",
        &[
            "candle",
            "simcse-bench",
            "simcse-data",
            "simcse-model",
            "simcse-ops",
            "simcse-random",
            "simcse-train",
        ],
    ),
    (
        "simcse-speed",
        &[
            "candle",
            "simcse-bench",
            "simcse-data",
            "simcse-losses",
            "simcse-model",
            "simcse-ops",
            "simcse-random",
            "simcse-train",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Paths below the root of all files of the project; without git (an unpacked archive) all that are there.
fn files() -> Vec<String> {
    let root = root();
    let listed =
        Command::new("git").current_dir(&root).args(["ls-files", "-co", "--exclude-standard"]).output();
    let mut files: Vec<String> = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
        }
        _ => ["crates", "experiments"].iter().flat_map(|folder| below(&root, folder)).collect(),
    };
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files
}

fn below(root: &Path, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root.join(folder)).unwrap().flatten();
    let path = |entry: std::fs::DirEntry| {
        let path = format!("{folder}/{}", entry.file_name().display());
        if root.join(&path).is_dir() { below(root, &path) } else { vec![path] }
    };
    entries.flat_map(path).collect()
}

/// Path and text of every Rust file.
fn sources() -> Vec<(String, String)> {
    let read = |path: String| {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        (path, text)
    };
    let sources: Vec<_> = files().into_iter().filter(|path| path.ends_with(".rs")).map(read).collect();
    assert!(sources.len() > 50, "only {} Rust files were found", sources.len());
    sources
}

/// Lines of a source that are neither comments nor in the tests at its end.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Direct dependencies by package: for use, and those of tests.
fn dependencies() -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let manifests = files().into_iter().filter(|path| path.ends_with("/Cargo.toml"));
    let read = |path: String| {
        let table: toml::Table =
            toml::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap();
        let names = |section: &str| -> Vec<String> {
            let section = table.get(section).and_then(toml::Value::as_table);
            section.into_iter().flat_map(toml::Table::keys).cloned().collect()
        };
        (
            table["package"]["name"].as_str().unwrap().to_owned(),
            (names("dependencies"), names("dev-dependencies")),
        )
    };
    manifests.map(read).collect()
}

/// `candle` for its crates and what stands on it, our own names as they are, nothing for others.
fn layer(dependency: &str) -> Option<&str> {
    if dependency.starts_with("candle") {
        return Some("candle");
    }
    (dependency.starts_with("simcse-") || dependency.starts_with("exp-")).then_some(dependency)
}

#[test]
fn crates_depend_downwards_only() {
    let dependencies = dependencies();
    for (name, allowed) in LAYERS {
        let (used, _) = dependencies.get(name).unwrap_or_else(|| panic!("no crate {name}"));
        for dependency in used.iter().filter_map(|dependency| layer(dependency)) {
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
    for name in dependencies.keys().filter(|name| !name.starts_with("exp-")) {
        assert!(
            LAYERS.iter().any(|(known, _)| known == name),
            "{name} has no place in the layers of this test"
        );
    }
}

#[test]
fn tests_keep_to_the_seams_as_well() {
    for (name, (_, of_tests)) in dependencies() {
        let forbidden: &[&str] = match name.as_str() {
            "simcse-data" => &["candle", "simcse-model", "simcse-losses"],
            "simcse-losses" => &["simcse-data", "simcse-model"],
            _ => &[],
        };
        for dependency in of_tests.iter().filter_map(|dependency| layer(dependency)) {
            assert!(!forbidden.contains(&dependency), "the tests of {name} must not depend on {dependency}");
        }
    }
}

#[test]
fn nothing_depends_on_experiments() {
    for (name, (used, of_tests)) in dependencies() {
        let found = used.iter().chain(&of_tests).find(|dependency| dependency.starts_with("exp-"));
        assert_eq!(found, None, "{name} depends on an experiment");
    }
}

#[test]
fn unsafe_stands_in_the_kernels_only() {
    let word = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == "unsafe" || word == "unsafe_code")
    };
    let kernels = ["products/amx", "products/avx512", "products/layouts", "products/gemm", "simd", "process"]
        .map(|module| format!("crates/simcse-ops/src/{module}.rs"));
    let this = "crates/simcse-bench/tests/policy.rs";
    for (path, text) in sources().iter().filter(|(path, _)| !kernels.contains(path) && path != this) {
        // Tests too: a lint that a test switches off is switched off.
        let line = text.lines().position(|line| !line.trim_start().starts_with("//") && word(line));
        assert_eq!(line.map(|line| line + 1), None, "{path} has unsafe code in this line");
    }
}

#[test]
fn files_can_be_read_at_a_sitting() {
    for (path, text) in sources() {
        let (lines, limit) = (
            text.lines().count(),
            if path.starts_with("experiments/") && path.ends_with("/main.rs") && path.contains("/src/") {
                60
            } else {
                500
            },
        );
        assert!(lines <= limit, "{path} has {lines} lines, at most {limit} are allowed");
    }
}

/// Files appear whole or not at all: by `write_whole`, which these words go around.
#[test]
fn files_are_written_whole() {
    let words = ["fs::write(", "File::create", "OpenOptions", "NamedTempFile", ".persist("];
    let allowed = [
        // The function itself.
        "crates/simcse-data/src/files.rs",
        // A log grows; lines are whole there, and cut off again if not.
        "crates/simcse-bench/src/record/metrics_log.rs",
        // A lock is an empty file.
        "crates/simcse-bench/src/record/claim.rs",
        // And here as well; what is downloaded is written by hf-hub, and named when it is whole.
        "crates/simcse-data/src/hub/download.rs",
    ];
    let in_use =
        |path: &str| path.contains("/src/") && !path.ends_with("tests.rs") && !path.ends_with("fixtures.rs");
    for (path, text) in sources().iter().filter(|(path, _)| in_use(path) && !allowed.contains(&path.as_str()))
    {
        let found = code(text).find(|line| words.iter().any(|word| line.contains(word)));
        assert_eq!(found, None, "{path} writes without write_whole");
    }
}

/// Under `results/` only `record/` writes runs, and `report/` tables. The cache of embeddings has a folder of its own.
#[test]
fn results_are_written_by_record_and_report() {
    let places =
        ["record/", "report/", "embedding_cache/"].map(|place| format!("crates/simcse-bench/src/{place}"));
    for (path, text) in sources() {
        let bound = path.starts_with("crates/simcse-bench/src/") || path.starts_with("experiments/");
        if !bound || !path.contains("/src/") || places.iter().any(|place| path.starts_with(place.as_str())) {
            continue;
        }
        let found = code(&text).find(|line| line.contains("write_whole") || line.contains("create_dir"));
        assert_eq!(found, None, "{path} writes files beside record/ and report/");
    }
}

/// A ban on a function that is gone (or mistyped) bans nothing.
#[test]
fn bans_name_functions_that_exist() {
    let clippy: toml::Table =
        toml::from_str(&std::fs::read_to_string(root().join("clippy.toml")).unwrap()).unwrap();
    let bans = ["disallowed-methods", "disallowed-types"]
        .into_iter()
        .flat_map(|key| clippy[key].as_array().unwrap());
    let folders = candle_folders();
    for ban in bans {
        let path = ban["path"].as_str().unwrap();
        assert!(ban["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{path}: no reason");
        let (krate, name) = (path.split("::").next().unwrap(), path.rsplit("::").next().unwrap());
        // What is no dependency (any more) cannot be called; its ban waits for the day that it is one.
        let Some(folder) = folders.get(&krate.replace('_', "-")) else {
            assert_eq!(krate, "candle_nn", "{path}: not a dependency");
            continue;
        };
        let texts = below(folder, "src").into_iter().filter(|file| file.ends_with(".rs"));
        let is_item = |line: &str| {
            let item = line.trim_start();
            [format!("pub fn {name}("), format!("pub fn {name}<"), format!("pub struct {name} ")]
                .iter()
                .any(|start| item.starts_with(start))
        };
        let found = texts
            .map(|file| std::fs::read_to_string(folder.join(file)).unwrap())
            .any(|text| text.lines().any(is_item));
        assert!(found, "{path}: there is no such function in {}", folder.file_name().unwrap().display());
    }
}

/// Where the sources of candle's crates lie.
fn candle_folders() -> BTreeMap<String, PathBuf> {
    // Only the packages of this platform are there without a network.
    let version = String::from_utf8(Command::new("rustc").arg("-vV").output().unwrap().stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let arguments = ["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host];
    let output = Command::new(env!("CARGO")).current_dir(root()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let folder = |package: &serde_json::Value| {
        let name = package["name"].as_str()?.to_owned();
        let manifest = Path::new(package["manifest_path"].as_str()?);
        name.starts_with("candle-").then(|| (name, manifest.parent().unwrap().to_path_buf()))
    };
    packages.filter_map(folder).collect()
}
