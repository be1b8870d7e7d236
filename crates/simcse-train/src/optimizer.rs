//! AdamW with parameter groups and clipping by the global norm.

use candle_core::Var;
use serde::{Deserialize, Serialize};
use simcse_model::ParameterSet;
use simcse_ops::adamw::{AdamWStep, Moments, MovedRows, adamw, adamw_table};
use simcse_ops::gradients::{Gradient, Gradients};

use crate::config::{TrainConfig, check};
use crate::{Result, TrainError};

/// Parameters that are trained differently from the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// Parameters whose name begins with this belong to the group; the first group that fits is taken.
    pub prefix: String,
    /// Factor on the learning rate.
    pub learning_rate_factor: f64,
    /// Weight decay in place of the general one.
    pub weight_decay: f64,
}

impl ParameterGroup {
    pub(crate) fn validate(&self) -> Result<()> {
        let factor = self.learning_rate_factor;
        check("groups.learning_rate_factor", factor, factor > 0.0, "give a number above 0")?;
        check("groups.weight_decay", self.weight_decay, self.weight_decay >= 0.0, "give 0 or more")
    }
}

struct Trained {
    name: String,
    variable: Var,
    moments: Moments,
    /// Of a table whose gradient comes by row; `None` until it is known.
    moved: Option<MovedRows>,
    learning_rate_factor: f64,
    weight_decay: f64,
}

impl Trained {
    fn update(&mut self, gradient: &Gradient, step: AdamWStep) -> Result<()> {
        let (table, moments) = (self.variable.as_tensor(), &mut self.moments);
        match gradient {
            Gradient::Whole(gradient) => {
                self.moved = None;
                adamw(table, gradient, moments, step)?;
            }
            Gradient::Rows(gradient) => {
                let size = table.dims().last().copied().unwrap_or_default();
                let moved = self.moved.get_or_insert_with(|| MovedRows::of(moments, size));
                adamw_table(table, gradient, moments, moved, step)?;
            }
        }
        Ok(())
    }
}

/// AdamW over a [`ParameterSet`].
pub struct AdamW {
    config: TrainConfig,
    parameters: Vec<Trained>,
    steps: u64,
}

impl AdamW {
    /// Fresh moments. Fails when a group fits no parameter: a prefix with a typo would train nothing
    /// differently and nobody would see.
    pub fn new(config: &TrainConfig, parameters: &ParameterSet) -> Result<Self> {
        for group in &config.groups {
            if !parameters.iter().any(|(name, _)| name.starts_with(&group.prefix)) {
                let names: Vec<&str> = parameters.iter().map(|(name, _)| name).collect();
                return Err(TrainError::Config {
                    key: "groups.prefix",
                    value: format!("{:?}", group.prefix),
                    fix: format!("give the beginning of one of {}", names.join(", ")),
                });
            }
        }
        let parameters = parameters.iter().map(|(name, variable)| {
            let group = config.groups.iter().find(|group| name.starts_with(&group.prefix));
            Trained {
                name: name.to_owned(),
                variable: variable.clone(),
                moments: Moments::zeros(variable.elem_count()),
                moved: None,
                learning_rate_factor: group.map_or(1.0, |group| group.learning_rate_factor),
                weight_decay: group.map_or(config.weight_decay, |group| group.weight_decay),
            }
        });
        Ok(Self { config: config.clone(), parameters: parameters.collect(), steps: 0 })
    }

    /// One update. Returns the global norm of the gradient before clipping.
    ///
    /// Fails, and changes nothing, when a parameter has no gradient or one that is not finite; the message
    /// lists the parameters.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<f64> {
        let found = self.collect(gradients)?;
        let norm = self.global_norm(&found)?;
        self.steps += 1;
        let gradient_scale = (self.config.max_gradient_norm / norm.max(f64::MIN_POSITIVE)).min(1.0);
        for (parameter, gradient) in self.parameters.iter_mut().zip(found) {
            let step = AdamWStep {
                learning_rate: learning_rate * parameter.learning_rate_factor,
                beta1: self.config.beta1,
                beta2: self.config.beta2,
                epsilon: self.config.epsilon,
                weight_decay: parameter.weight_decay,
                step: self.steps,
                gradient_scale,
            };
            parameter.update(gradient, step)?;
        }
        Ok(norm)
    }

    fn collect<'a>(&self, gradients: &'a Gradients) -> Result<Vec<&'a Gradient>> {
        let missing: Vec<&str> = self
            .parameters
            .iter()
            .filter(|parameter| gradients.get(&parameter.variable).is_none())
            .map(|parameter| parameter.name.as_str())
            .collect();
        if !missing.is_empty() {
            let finding = format!(
                "no gradient reached {}: an operation without a backward cuts the graph above them, or the \
                 loss does not use them",
                missing.join(", ")
            );
            return Err(TrainError::Unhealthy { step: self.steps + 1, finding });
        }
        Ok(self.parameters.iter().filter_map(|parameter| gradients.get(&parameter.variable)).collect())
    }

    /// Square root of the sum of all squares, in float64, in the order of the names.
    fn global_norm(&self, gradients: &[&Gradient]) -> Result<f64> {
        let mut sum = 0.0;
        for (parameter, gradient) in self.parameters.iter().zip(gradients) {
            let part = gradient.sum_of_squares()?;
            if !part.is_finite() {
                let finding = format!(
                    "the gradient of {} is not finite: lower the learning rate, or look for a division by a \
                     norm of 0",
                    parameter.name
                );
                return Err(TrainError::Unhealthy { step: self.steps + 1, finding });
            }
            sum += part;
        }
        Ok(sum.sqrt())
    }

    /// Number of updates so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Names and moments, by name.
    pub fn moments(&self) -> impl Iterator<Item = (&str, &Moments)> {
        self.parameters.iter().map(|parameter| (parameter.name.as_str(), &parameter.moments))
    }

    /// Puts saved moments back. Fails, naming the parameter, when `moments` has none for it.
    pub fn restore(&mut self, steps: u64, mut moments: impl FnMut(&str) -> Result<Moments>) -> Result<()> {
        for parameter in &mut self.parameters {
            parameter.moments = moments(&parameter.name)?;
            parameter.moved = None;
        }
        self.steps = steps;
        Ok(())
    }
}
