//! The program of an experiment in a folder of its own for each test: data, configuration, results.
//!
//! Not a test of this crate: the tests of the experiments share it.
#![allow(dead_code, reason = "each experiment uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Characters of the made-up sentences.
pub(crate) const CHARACTERS: &str = "我你他们的了是在有这不会能借还款天吃喝玩乐山水火土";

/// What makes the configuration of a TextCNN one of some hundred parameters, for 12 steps on [`World`]'s LCQMC.
const SMALL_TEXT_CNN: [(&str, &str); 12] = [
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
];

/// The committed configuration of a TextCNN in small.
pub(crate) fn small_text_cnn(config: &str) -> String {
    SMALL_TEXT_CNN.iter().fold(config.to_owned(), |config, (key, value)| replace_value(&config, key, value))
}

/// A folder with small data and a small configuration.
pub(crate) struct World {
    root: TempDir,
    program: &'static str,
    run: &'static str,
}

impl World {
    /// Evaluation sets, and `config` as `small.toml`. `program` is the built experiment, and `run` the folder of
    /// the run of this configuration below the results.
    pub(crate) fn with(program: &'static str, run: &'static str, config: &str) -> Self {
        let world = Self { root: tempfile::tempdir().unwrap(), program, run };
        world.write("data/LCQMC/dev.txt", &pairs(0, 60));
        world.write("data/LCQMC/test.txt", &pairs(500, 30));
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
        let mut command = Command::new(self.program);
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

    /// Name and content of every file of the run in `out`.
    pub(crate) fn run_files(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        self.files(&format!("{out}/{}", self.run))
    }

    /// A file of the run in `out`.
    pub(crate) fn json(&self, out: &str, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(&format!("{out}/{}/{name}", self.run))).unwrap()
    }

    /// `summary.json` of the run in `out`.
    pub(crate) fn summary(&self, out: &str) -> serde_json::Value {
        self.json(out, "summary.json")
    }

    /// Runs to the end.
    pub(crate) fn finish(&self, out: &str, arguments: &[&str]) {
        let output = self.command(out, arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// The line of error of a command that must have failed without a trace.
    pub(crate) fn error(&self, arguments: &[&str]) -> String {
        let line = error_line(&self.command("out", arguments).output().unwrap());
        assert!(self.files("out").is_empty(), "{:?}", self.files("out").keys());
        line
    }

    /// Starts `command`, whose results go to `out`, waits until its log has reached `step`, sends `signal`.
    pub(crate) fn stopped(&self, mut command: Command, signal: &str, step: u64) -> Output {
        let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        let log = self.path(&format!("out/{}/metrics.jsonl", self.run));
        let reached = || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.lines().any(|line| line.starts_with(&format!("{{\"step\":{step},")))
        };
        while !reached() {
            if begun.elapsed() > Duration::from_secs(300) {
                child.kill().unwrap();
                panic!("the run does not get to step {step}");
            }
            if child.try_wait().unwrap().is_some() {
                let output = child.wait_with_output().unwrap();
                panic!("the run ended by itself: {}", stderr(&output));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        child.wait_with_output().unwrap()
    }

    /// Asserts that the runs in `out` and `whole` left the same, but for times and the machine.
    pub(crate) fn assert_same_results(&self) {
        let (stopped, whole) = (self.run_files("out"), self.run_files("whole"));
        assert_eq!(stopped.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
        for (name, bytes) in &whole {
            if !matches!(name.as_str(), "env.json" | "summary.json") {
                assert!(&stopped[name] == bytes, "{name} differs");
            }
        }
        let without_times = |out: &str| {
            let mut summary = self.summary(out);
            for key in ["wall_s", "sentences_per_s"] {
                assert!(summary.as_object_mut().unwrap().remove(key).unwrap().as_f64().unwrap() > 0.0);
            }
            // Of the times as well.
            assert!(summary.as_object_mut().unwrap().remove("sha256").is_some());
            summary
        };
        assert_eq!(without_times("out"), without_times("whole"));
        assert_eq!(without_times("out")["status"], "ok");
    }
}

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

/// The configuration with another value of this key, which stands in it once.
pub(crate) fn replace_value(config: &str, key: &str, value: &str) -> String {
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
