//! Checks that stop a run which does not learn, and say why.
//!
//! All of these look fine in a loss curve that is not compared with anything (SimCSE's issue tracker is
//! full of them): dropout that does not act, a graph that is cut, a collapse, a loss at the chance level.

use serde::{Deserialize, Serialize};

use crate::objective::Diagnostics;
use crate::{Result, TrainError};

/// The `[health]` section: what this experiment does on purpose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// Allows both views of a sentence to be equal (dropout 0 without augmentation, an ablation).
    pub identical_views_allowed: bool,
    /// Steps after which the loss must have left the chance level; 0: no check.
    pub chance_level_steps: u64,
}

/// Cosine from which two embeddings count as the same one.
const SAME: f64 = 1.0 - 1e-6;
/// Mean cosine of unrelated sentences from which all embeddings count as alike.
const COLLAPSED: f64 = 0.999;
/// Steps that an encoder which begins with all embeddings alike has to tell sentences apart. The first vector of a
/// checkpoint that nothing was ever read from is such a beginning, and SimCSE leaves it within some tens of steps.
const ALIKE_FROM_THE_BEGINNING: u64 = 100;
/// Share of the chance loss below which a loss has left the chance level.
const LEFT_CHANCE: f64 = 0.98;
/// Steps between two looks at the similarities.
const LOOK_EVERY: u64 = 20;
/// Weight of the newest loss in the running mean.
const NEWEST: f64 = 0.05;

/// Watches the losses of a run. Part of the checkpoint: a resumed run judges as an unbroken one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    config: HealthConfig,
    running_loss: Option<f64>,
    /// The highest chance loss of any look. The running loss is that of whole batches: a short last batch, whose few
    /// candidates are easily guessed, says nothing of it.
    #[serde(default)]
    chance_loss: Option<f64>,
    /// Looks in a row at which every positive was identical.
    identical: u64,
    /// Looks in a row at which all embeddings were alike.
    collapsed: u64,
    /// Whether a look has found embeddings that were not alike.
    #[serde(default)]
    apart: bool,
}

impl Health {
    /// A fresh watch.
    pub fn new(config: HealthConfig) -> Self {
        Self { config, running_loss: None, chance_loss: None, identical: 0, collapsed: 0, apart: false }
    }

    /// Whether the similarities of the step with `done` steps before it are to be looked at: all of the
    /// first ones, then now and then.
    pub fn looks_at(done: u64) -> bool {
        done < LOOK_EVERY || done.is_multiple_of(LOOK_EVERY)
    }

    /// Judges step `step` (from 1) by the loss of the objective, without auxiliary losses. Fails with an
    /// explanation when the run does not learn.
    pub fn check(&mut self, step: u64, loss: f64, seen: Option<&Diagnostics>) -> Result<()> {
        let unhealthy = |finding: String| Err(TrainError::Unhealthy { step, finding });
        if !loss.is_finite() {
            return unhealthy(format!(
                "the loss is {loss}: lower the learning rate, or raise the temperature; the last checkpoint is intact"
            ));
        }
        let running = self.running_loss.map_or(loss, |mean| mean + NEWEST * (loss - mean));
        self.running_loss = Some(running);
        let Some(seen) = seen else { return Ok(()) };
        let in_a_row = |count: u64, cosine: Option<f64>, limit: f64| match cosine {
            Some(cosine) if cosine >= limit => count + 1,
            _ => 0,
        };
        self.identical = in_a_row(self.identical, seen.positive_cosine, SAME);
        self.collapsed = in_a_row(self.collapsed, seen.negative_cosine, COLLAPSED);
        self.apart |= self.collapsed == 0;
        // One batch may be odd; three looks in a row are the rule.
        if self.collapsed >= 3 && (self.apart || step > ALIKE_FROM_THE_BEGINNING) {
            let what = if self.apart { "has collapsed" } else { "has been so from the beginning" };
            return unhealthy(format!(
                "all embeddings are alike (unrelated sentences at mean cosine {:.6}): the encoder {what}; \
                 lower the learning rate, or look for a bias that drowns the input",
                seen.negative_cosine.unwrap_or(f64::NAN)
            ));
        }
        if self.identical >= 3 && !self.config.identical_views_allowed {
            return unhealthy(
                "every positive is at cosine 1: both views are the same, so dropout does not act and nothing \
                 can be learnt from the positives; set a dropout rate or an augmentation above 0, or say \
                 health.identical_views_allowed = true if this is the experiment"
                    .to_owned(),
            );
        }
        let limit = self.config.chance_level_steps;
        // A loss that is no guess among candidates has no chance level.
        self.chance_loss = [self.chance_loss, seen.chance_loss].into_iter().flatten().reduce(f64::max);
        let Some(chance_loss) = self.chance_loss else { return Ok(()) };
        if limit > 0 && step >= limit && running > LEFT_CHANCE * chance_loss {
            return unhealthy(format!(
                "the loss is still {running:.4}, a guess among the candidates gives {chance_loss:.4}: nothing is \
                 learnt; check the learning rate, the temperature and that the similarity is normalised"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Diagnostics = Diagnostics {
        positive_cosine: Some(0.9),
        negative_cosine: Some(0.2),
        accuracy: Some(0.8),
        chance_loss: Some(4.0),
    };

    fn health(identical_views_allowed: bool) -> Health {
        Health::new(HealthConfig { identical_views_allowed, chance_level_steps: 10 })
    }

    const ALIKE: Diagnostics = Diagnostics { negative_cosine: Some(0.9999), ..FINE };

    /// Runs ten steps and gives the message of the first finding.
    fn finding(health: Health, loss: f64, seen: Diagnostics) -> Option<String> {
        first_finding(health, loss, &[seen; 10]).map(|(_, finding)| finding)
    }

    /// Step and message of the first finding, where each step is looked at.
    fn first_finding(mut health: Health, loss: f64, seen: &[Diagnostics]) -> Option<(u64, String)> {
        let mut steps = (1..).zip(seen);
        steps.find_map(|(step, seen)| Some((step, health.check(step, loss, Some(seen)).err()?.to_string())))
    }

    #[test]
    fn a_run_that_learns_is_let_be() {
        assert_eq!(finding(health(false), 1.0, FINE), None);
    }

    #[test]
    fn each_way_of_not_learning_is_named() {
        let cases = [
            (f64::NAN, FINE, "loss is NaN"),
            (1.0, Diagnostics { positive_cosine: Some(1.0), ..FINE }, "dropout does not act"),
            (3.99, FINE, "nothing is learnt"),
        ];
        for (loss, seen, message) in cases {
            let found = finding(health(false), loss, seen).unwrap_or_default();
            assert!(found.contains(message), "{found:?} does not say {message:?}");
        }
    }

    #[test]
    fn a_collapse_is_found_at_its_third_look() {
        let seen = [[FINE; 4], [ALIKE; 4]].concat();
        let (step, found) = first_finding(health(false), 1.0, &seen).unwrap();
        assert_eq!(step, 7);
        assert!(found.contains("all embeddings are alike") && found.contains("has collapsed"), "{found}");
    }

    #[test]
    fn an_encoder_that_begins_alike_has_a_hundred_steps() {
        let seen = [vec![ALIKE; 100], vec![FINE; 10]].concat();
        assert_eq!(first_finding(health(false), 1.0, &seen), None);
        let (step, found) = first_finding(health(false), 1.0, &[ALIKE; 200]).unwrap();
        assert_eq!(step, 101);
        assert!(found.contains("has been so from the beginning"), "{found}");
    }

    /// A batch of two has a chance loss of .69, and the running loss is that of batches of many.
    #[test]
    fn a_short_last_batch_is_no_measure() {
        let short = Diagnostics { chance_loss: Some(2_f64.ln()), ..FINE };
        let seen = [vec![FINE; 19], vec![short]].concat();
        assert_eq!(first_finding(health(false), 1.0, &seen), None);
    }

    /// CoSENT is 0 or anything above it; a loss of 3.99 says nothing.
    #[test]
    fn a_ranking_is_not_judged_by_what_it_does_not_know() {
        let ranking = Diagnostics { positive_cosine: None, chance_loss: None, ..FINE };
        assert_eq!(finding(health(false), 3.99, ranking), None);
        let alike = Diagnostics { negative_cosine: ALIKE.negative_cosine, ..ranking };
        let found = first_finding(health(false), 3.99, &[alike; 200]).unwrap().1;
        assert!(found.contains("all embeddings are alike"), "{found}");
        let alone = Diagnostics { negative_cosine: None, ..ranking };
        assert_eq!(finding(health(false), 3.99, alone), None);
    }

    #[test]
    fn equal_views_may_be_meant() {
        let seen = Diagnostics { positive_cosine: Some(1.0), ..FINE };
        assert_eq!(finding(health(true), 1.0, seen), None);
    }
}
