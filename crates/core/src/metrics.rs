//! Named numbers of a step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Named numbers, `stage/name`, sorted by name. Each is documented in `docs/METRICS.md`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// No metrics yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a number.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<f64>) {
        self.0.insert(name.into(), value.into());
    }

    /// Adds to a counter that starts at 0.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<f64>) {
        *self.0.entry(name.into()).or_default() += value.into();
    }

    /// A number by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Takes over all numbers of `other`; equal names are replaced.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Names and numbers in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, &value)| (name.as_str(), value))
    }

    /// Whether there is no number.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
