//! From a configuration file to recorded runs: what the experiment binaries compose.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | the command line that all experiments share |
//! | [`sweep`] | a file with variants and seeds → configurations |
//! | [`prepare`] | corpus, vocabulary, token ids, evaluation sets |
//! | [`views`] | two dropout views of each sentence |
//! | [`follow`] | dev scores, the log of a run |
//! | [`run`] | one run, from the seed to `summary.json` |

pub mod cli;
pub mod follow;
pub mod prepare;
pub mod run;
pub mod sweep;
pub mod views;

pub use cli::ExperimentCli;
pub use run::RunOptions;
