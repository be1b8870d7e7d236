//! `env.json`: the code, the machine and the numbers of a run.

use std::process::Command;

use serde::{Deserialize, Serialize};
use simcse_ops::simd::Level;

use super::sha256_hex;

/// The lock file that this binary was built from.
const CARGO_LOCK: &str = include_str!("../../../../Cargo.lock");

/// Where and with what a run was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Commit of the working directory; `null` outside a git repository.
    pub git_revision: Option<String>,
    /// Whether files other than those under `results/` differ from that commit; `null` as above.
    pub git_dirty: Option<bool>,
    /// Version of this crate.
    pub simcse_version: String,
    /// SHA-256 of the `Cargo.lock` that the binary was built from.
    pub cargo_lock_sha256: String,
    /// Version of candle-core.
    pub candle_version: String,
    /// Compiler.
    pub rustc_version: String,
    /// Extra flags of the compiler, `RUSTFLAGS`.
    pub rustflags: String,
    /// `release` or `debug`.
    pub profile: String,
    /// Operating system and architecture.
    pub os: String,
    /// Model of the processor.
    pub cpu: String,
    /// SIMD level of the kernels; runs before 30 November 2026 do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simd: Option<String>,
    /// Cores that the process may use.
    pub cores: usize,
    /// Threads of the thread pool.
    pub threads: usize,
    /// Precision of weights and arithmetic (`f32`).
    pub precision: String,
    /// Master seed.
    pub seed: u64,
}

impl Environment {
    /// Looks at the machine and the working directory.
    pub fn gather(precision: &str, seed: u64) -> Self {
        let git_revision = git(&["rev-parse", "HEAD"]);
        // Runs write under results/ while others are still to come: that does not make the code dirty.
        let changes = git(&["status", "--porcelain", "--", ":/", ":(top,exclude)results"]);
        Self {
            git_dirty: git_revision.as_ref().and(changes).map(|changes| !changes.is_empty()),
            git_revision,
            simcse_version: env!("CARGO_PKG_VERSION").to_owned(),
            cargo_lock_sha256: sha256_hex(CARGO_LOCK.as_bytes()),
            candle_version: locked_version("candle-core").unwrap_or("unknown").to_owned(),
            rustc_version: env!("SIMCSE_RUSTC_VERSION").to_owned(),
            rustflags: env!("SIMCSE_RUSTFLAGS").to_owned(),
            profile: env!("SIMCSE_PROFILE").to_owned(),
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: cpu_model(),
            simd: Some(Level::current().name().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: rayon::current_num_threads(),
            precision: precision.to_owned(),
            seed,
        }
    }
}

/// The trimmed output of a git command, if it succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// Version of a package in the lock file.
fn locked_version(package: &str) -> Option<&'static str> {
    let name = format!("name = \"{package}\"");
    let mut lines = CARGO_LOCK.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

/// Model of the processor as Linux tells it; elsewhere the architecture.
fn cpu_model() -> String {
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = known.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known() {
        let environment = Environment::gather("f32", 7);
        assert!(environment.rustc_version.starts_with("rustc 1."), "{}", environment.rustc_version);
        assert!(environment.candle_version.starts_with("0."), "{}", environment.candle_version);
        assert_eq!(locked_version("no-such-package"), None);
        assert!(environment.threads >= 1 && environment.cores >= 1);
    }
}
