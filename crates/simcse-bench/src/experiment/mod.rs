//! From a configuration file to recorded runs: what the experiment binaries compose.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | the command line that all experiments share |
//! | `options` | the options of everything that runs sweeps |
//! | [`sweep`] | a file with variants and seeds → configurations |
//! | [`prepare`] | corpus, token ids, evaluation sets |
//! | [`batches`] | the batch of a step: dropout views, triplets, scored pairs |
//! | `classes` | sentences as classes for a margin softmax |
//! | [`start`] | encoder and tokenizer before the first step |
//! | `teacher` | the encoder that a student follows |
//! | [`follow`] | dev scores, the log of a run |
//! | [`run`] | one run, from the seed to `summary.json` |

use std::io::Write as _;

pub mod batches;
mod classes;
pub mod cli;
pub mod follow;
mod options;
pub mod prepare;
pub mod run;
pub mod start;
pub mod sweep;
mod teacher;

pub use cli::ExperimentCli;
pub use options::SweepOptions;
pub use run::RunOptions;

/// A line for the user.
fn say(line: &str) {
    // A closed standard error is no reason to stop a training.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// An error and its causes in one line: some libraries spread a cause over several lines, and some messages
/// hold that of their cause already.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}
