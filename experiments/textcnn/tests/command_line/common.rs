//! A folder of its own for each test: data, configuration, results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The committed configuration, of which [`World::new`] writes a small version.
const HEADLINE: &str = include_str!("../../configs/dropout-only.toml");
/// Characters of the made-up sentences.
const CHARACTERS: &str = "我你他们的了是在有这不会能借还款天吃喝玩乐山水火土";

/// A folder with small data and a small configuration.
pub(crate) struct World {
    root: TempDir,
}

impl World {
    /// LCQMC of 60 and 30 made-up pairs; a network of some hundred parameters for 12 steps on them.
    pub(crate) fn new() -> Self {
        let world = Self { root: tempfile::tempdir().unwrap() };
        world.write("data/LCQMC/dev.txt", &pairs(0, 60));
        world.write("data/LCQMC/test.txt", &pairs(500, 30));
        let mut config = HEADLINE.to_owned();
        for (key, value) in [
            ("train", r#"["lcqmc/dev"]"#),
            ("min_count", "1"),
            ("embedding_size", "32"),
            ("widths", "[1, 2]"),
            ("maps", "4"),
            ("batch_size", "8"),
            ("steps", "12"),
            ("evaluate_every", "4"),
            ("checkpoint_every", "5"),
            ("chance_level_steps", "0"),
            ("tasks", r#"["lcqmc"]"#),
            ("select_on", r#"["lcqmc"]"#),
        ] {
            config = replace_value(&config, key, value);
        }
        world.write("small.toml", config.as_bytes());
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces the value of a key of `small.toml`; returns its line.
    pub(crate) fn set(&self, key: &str, value: &str) -> usize {
        let config = replace_value(&self.read("small.toml"), key, value);
        self.write("small.toml", config.as_bytes());
        1 + config.lines().position(|line| line == format!("{key} = {value}")).unwrap()
    }

    /// The program with data, `small.toml` and results of this world, and nothing of the machine's.
    pub(crate) fn command(&self, out: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exp-textcnn"));
        self.prepare(&mut command);
        command.arg("small.toml").args(["--data-dir", "data", "--out", out]).args(arguments);
        command
    }

    /// [`World::command`] by a shell that first runs `setup`.
    pub(crate) fn command_after(&self, setup: &str, out: &str, arguments: &[&str]) -> Command {
        let direct = self.command(out, arguments);
        let mut command = Command::new("sh");
        self.prepare(&mut command);
        command
            .arg("-c")
            .arg(format!("{setup}; exec \"$0\" \"$@\""))
            .arg(direct.get_program())
            .args(direct.get_args());
        command
    }

    pub(crate) fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.root.path())
            .env("HF_HUB_OFFLINE", "1")
            .env("XDG_CACHE_HOME", self.path("cache"));
        for name in ["SIMCSE_DATA_DIR", "SIMCSE_MODEL_DIR", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT"] {
            command.env_remove(name);
        }
    }

    /// Name and content of every file below `folder`.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.path(folder), &self.path(folder), &mut files);
        files
    }

    /// `summary.json` of the run in `out`.
    pub(crate) fn summary(&self, out: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(&format!("{out}/{RUN}/summary.json"))).unwrap()
    }
}

/// The folder of a run below the results.
pub(crate) const RUN: &str = "runs/textcnn/dropout-only-s1";

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

fn replace_value(config: &str, key: &str, value: &str) -> String {
    let prefix = format!("{key} = ");
    assert_eq!(config.lines().filter(|line| line.starts_with(&prefix)).count(), 1, "{key}");
    let line = |line: &str| {
        if line.starts_with(&prefix) { format!("{prefix}{value}\n") } else { format!("{line}\n") }
    };
    config.lines().map(line).collect()
}

/// Pairs of made-up sentences, alternating between a repeated sentence and two different ones.
pub(crate) fn pairs(first: usize, count: usize) -> Vec<u8> {
    let characters: Vec<char> = CHARACTERS.chars().collect();
    let sentence = |number: usize| -> String {
        (0..6).map(|place| characters[(number * 7 + place * (number % 11 + 3)) % characters.len()]).collect()
    };
    let row = |number: usize| {
        let same = number.is_multiple_of(2);
        let second = if same { format!("{}吗", sentence(number)) } else { sentence(number + 3) };
        format!("{}\t{second}\t{}\n", sentence(number), u8::from(same))
    };
    (first..first + count).map(row).collect::<String>().into_bytes()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The only line of error of a command that must have failed.
pub(crate) fn error_line(output: &Output) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let lines: Vec<&str> =
        text.lines().filter(|line| line.contains("error") || line.contains("failed")).collect();
    assert_eq!(lines.len(), 1, "one line of error wanted:\n{text}");
    assert_eq!(text.lines().last(), Some(lines[0]), "it must be the last line:\n{text}");
    assert!(output.stdout.is_empty(), "a table after an error: {:?}", output.stdout);
    assert!(lines[0].matches("fix: ").count() <= 1 && lines[0].matches("os error").count() <= 1, "{text}");
    lines[0].strip_prefix("error: ").unwrap().to_owned()
}

/// Asserts that `line` begins with the place, and has every one of `parts`.
pub(crate) fn assert_says(line: &str, place: &str, parts: &[&str]) {
    assert!(line.starts_with(place), "{line:?} does not begin with {place:?}");
    for part in parts {
        assert!(line.contains(part), "{line:?} does not say {part:?}");
    }
}
