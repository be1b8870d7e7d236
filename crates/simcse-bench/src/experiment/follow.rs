//! Follows a run: dev scores that select, and the log.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use simcse_data::PairSet;
use simcse_model::SentenceEncoder;
use simcse_train::run_loop::{Observer, StepReport};

use crate::embedder::Embedder;
use crate::record::{RunDirectory, RunIdentity};
use crate::tasks::dev_scores;

/// Writes a run down as it goes.
pub struct Follower<'a> {
    /// The results folder.
    pub results: &'a Path,
    /// What the run is.
    pub identity: &'a RunIdentity,
    /// The resolved configuration.
    pub config_toml: &'a str,
    /// The content of `data.json`.
    pub data: &'a Value,
    /// Dev sets that select.
    pub selection: &'a [PairSet],
    /// The encoder in training with its tokenizer, seen through the evaluator's only door.
    pub encoder: &'a dyn Embedder,
    /// The directory, from [`Observer::on_begin`] on.
    pub directory: Option<RunDirectory>,
    /// Steps done, for the record of a run that fails.
    pub step: u64,
}

impl Follower<'_> {
    fn log(&mut self, step: u64, values: &Value) -> Result<()> {
        let values: &Map<String, Value> = values.as_object().context("a log line is an object")?;
        self.directory.as_mut().context("the run has not begun")?.log(step, values)
    }
}

impl Observer for Follower<'_> {
    fn on_begin(&mut self, step: u64) -> Result<()> {
        let (identity, config) = (self.identity.clone(), self.config_toml);
        self.step = step;
        self.directory = Some(match step {
            0 => RunDirectory::create(self.results, identity, config, self.data)?,
            _ => RunDirectory::resume(self.results, identity, config, self.data, step)?,
        });
        Ok(())
    }

    fn evaluate(&mut self, _encoder: &dyn SentenceEncoder, step: u64) -> Result<f64> {
        let mut values = Map::new();
        let mut sum = 0.0;
        for set in self.selection {
            let scores = dev_scores(self.encoder, set)?;
            values.insert(format!("{}/{}/spearman", set.name, set.split), json!(scores.spearman));
            values.extend(scores.geometry.into_iter().map(|(name, value)| (name, json!(value))));
            sum += scores.spearman;
        }
        let score = sum / self.selection.len() as f64;
        values.insert("selection".to_owned(), json!(score));
        self.log(step, &Value::Object(values))?;
        Ok(score)
    }

    fn on_step(&mut self, report: &StepReport) -> Result<()> {
        self.step = report.step;
        let Some(seen) = report.diagnostics else { return Ok(()) };
        let mut values = json!({
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
        });
        let further = [
            ("accuracy", seen.accuracy),
            ("positive_cosine", seen.positive_cosine),
            ("negative_cosine", seen.negative_cosine),
            ("auxiliary_loss", report.auxiliary_loss),
        ];
        for (name, value) in further {
            if let Some(value) = value {
                values[name] = json!(value);
            }
        }
        self.log(report.step, &values)
    }
}
