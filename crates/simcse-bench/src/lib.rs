//! Evaluation, run records, statistics and reports.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | one TOML file is one experiment |
//! | [`experiment`] | from a configuration file to recorded runs |
//! | [`embedder`] | the only door into evaluation: sentences in, embeddings out |
//! | [`embedding_cache`] | embeddings of untrained encoders kept on disk |
//! | [`pretrained`] | published checkpoints as encoders, to train or to score as they are |
//! | [`metrics`] | Spearman and its ceiling, Pearson, AUC, accuracy, alignment and uniformity of pairs |
//! | [`tasks`] | data sets scored to named metrics (`lcqmc/test/spearman`) |
//! | [`baselines`] | what can be had without training |
//! | [`record`] | one directory per run, the only writer under `results/` |
//! | [`comparison`] | whether one configuration, or one run, is better than another |
//! | [`stats`] | means over seeds, paired tests, bootstrap |
//! | [`verify`] | whether the figures of a recorded run come out again |
//! | [`report`] | tables from recorded runs, spliced into documents |

pub mod baselines;
pub mod comparison;
pub mod config;
pub mod embedder;
pub mod embedding_cache;
pub mod experiment;
pub mod metrics;
pub mod pretrained;
pub mod record;
mod recorded;
pub mod report;
pub mod stats;
pub mod tasks;
pub mod verify;
