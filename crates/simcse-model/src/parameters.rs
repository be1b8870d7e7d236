//! Named parameters in a fixed order.

use candle_core::{Result, Tensor, Var};

/// Trainable parameters, sorted by name: sums over them (a global norm) have one order.
///
/// candle's `VarMap` is a hash map whose order changes from run to run, hence this.
#[derive(Debug, Clone, Default)]
pub struct ParameterSet {
    named: Vec<(String, Var)>,
}

impl ParameterSet {
    /// Adds a parameter with this initial value and returns the tensor to compute with.
    ///
    /// # Panics
    /// When the name is taken: two layers would train the same weights.
    pub fn add(&mut self, name: impl Into<String>, value: &Tensor) -> Result<Tensor> {
        let name = name.into();
        let place = match self.named.binary_search_by(|(other, _)| other.as_str().cmp(&name)) {
            Ok(_) => panic!("two parameters are named {name}"),
            Err(place) => place,
        };
        let var = Var::from_tensor(value)?;
        let tensor = var.as_tensor().clone();
        self.named.insert(place, (name, var));
        Ok(tensor)
    }

    /// All parameters, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        self.named.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The parameter of this name.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.named.iter().find(|(other, _)| other == name).map(|(_, var)| var)
    }

    /// Number of trainable values.
    pub fn element_count(&self) -> usize {
        self.named.iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// Copies of all values, in order: what best-on-dev selection keeps.
    pub fn snapshot(&self) -> Result<Vec<Tensor>> {
        self.named.iter().map(|(_, var)| var.as_tensor().copy()).collect()
    }

    /// Puts the values of a [`ParameterSet::snapshot`] back.
    pub fn restore(&self, snapshot: &[Tensor]) -> Result<()> {
        self.named.iter().zip(snapshot).try_for_each(|((_, var), value)| var.set(value))
    }
}
