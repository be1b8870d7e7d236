//! One directory per run: `results/runs/<experiment>/<config>-s<seed>/`. The only writer under `results/`.
//!
//! | file | written | what |
//! |---|---|---|
//! | `config.toml` | at the start | the resolved configuration |
//! | `env.json` | at the start | code, machine, precision ([`Environment`]) |
//! | `data.json` | at the start | the data, by hash |
//! | `metrics.jsonl` | as it goes | one object per logged step |
//! | `summary.json` | at the end | status and final metrics ([`Summary`]) |
//!
//! A run without `summary.json` was killed; what it logged is there. `results/SCHEMA.md` documents every field.

mod claim;
mod environment;
mod hash;
mod metrics_log;
mod run_directory;
mod seal;
mod summary;

pub use claim::Claim;
pub use environment::Environment;
pub(crate) use hash::without_origins;
pub use hash::{config_sha256, files_sha256};
pub use run_directory::{Outcome, RunDirectory, RunIdentity, find_run, finished_run};
pub(crate) use run_directory::{RUN_NAME, is_run_name};
pub use simcse_data::sha256_hex;
pub use simcse_data::write_whole;
pub use summary::{SCHEMA_VERSION, Status, Summary};
