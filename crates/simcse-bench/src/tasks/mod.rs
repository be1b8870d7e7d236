//! Data sets scored to named metrics.
//!
//! A name carries data set, split and aggregation: `lcqmc/test/spearman`, `lcqmc/all/spearman_weighted`,
//! `sts12/test/spearman_all`. What is not there has no name: it is never 0.

mod cosines;
mod evaluate;
mod scorer;
mod sets;

pub use cosines::{COSINE_BINS, CosineClass, cosine_classes};
pub use evaluate::{DevScores, Scores, TRUNCATED, dev_scores, evaluate, evaluate_scorer};
pub use scorer::{CosineScorer, PairScorer};
pub use sets::{CHINESE_TASKS, SCORED, TaskSets, evaluation_hashes, load_task_sets};
