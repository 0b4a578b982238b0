//! How long a stage lasts: steps, passes over its samples, or until accuracy no longer rises.

use std::collections::VecDeque;

use reft_config::{PlateauConfig, StageConfig};
use serde::{Deserialize, Serialize};

/// How long a stage lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// So many steps.
    Steps(u64),
    /// So many passes over the stage's samples; the step that completes them is the last.
    Epochs(f64),
    /// Until [`Plateau`] says so.
    Plateau(PlateauConfig),
}

impl Length {
    /// The length that a recipe gives, when it gives exactly one.
    pub(crate) fn of(config: &StageConfig) -> Option<Self> {
        match (config.steps, config.epochs, config.plateau) {
            (Some(steps), None, None) => Some(Self::Steps(steps)),
            (None, Some(epochs), None) => Some(Self::Epochs(epochs)),
            (None, None, Some(plateau)) => Some(Self::Plateau(plateau)),
            _ => None,
        }
    }

    /// Whether a stage is over after so many steps and passes.
    pub(crate) fn is_over(&self, steps: u64, epochs: f64, plateau: &Plateau) -> bool {
        match self {
            Self::Steps(length) => steps >= *length,
            Self::Epochs(length) => epochs >= *length,
            Self::Plateau(rule) => steps >= rule.max_steps || plateau.is_over(rule),
        }
    }
}

/// Watches a curve rise.
///
/// With `m_t` the mean of the last `window` values: a value counts as a rise when `m_t > best + min_delta`, which makes
/// `m_t` the best. The curve is flat when `patience` values in a row were no rise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    recent: VecDeque<f64>,
    best: Option<f64>,
    flat: u64,
}

impl Plateau {
    /// Takes the next value of the curve. Nothing is said before the first `window` values.
    pub fn push(&mut self, rule: &PlateauConfig, value: f64) {
        self.recent.push_back(value);
        if self.recent.len() > rule.window {
            self.recent.pop_front();
        }
        if self.recent.len() < rule.window {
            return;
        }
        let mean = self.recent.iter().sum::<f64>() / rule.window as f64;
        if self.best.is_none_or(|best| mean > best + rule.min_delta) {
            self.best = Some(mean);
            self.flat = 0;
        } else {
            self.flat += 1;
        }
    }

    /// Whether the curve is flat.
    pub fn is_over(&self, rule: &PlateauConfig) -> bool {
        self.flat >= rule.patience
    }

    /// Values in a row that were no rise.
    pub fn flat(&self) -> u64 {
        self.flat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plateaus_by_hand() {
        let rule = PlateauConfig { max_steps: 100, window: 2, patience: 3, min_delta: 0.1 };
        let mut plateau = Plateau::default();
        // Means of two: -, 0.1, 0.3 (rise), 0.35, 0.4 (not above 0.3 + 0.1), 0.5 (rise), then flat.
        let values =
            [(0.0, 0), (0.2, 0), (0.4, 0), (0.3, 1), (0.5, 2), (0.5, 0), (0.5, 1), (0.5, 2), (0.5, 3)];
        for (i, (value, flat)) in values.into_iter().enumerate() {
            plateau.push(&rule, value);
            assert_eq!(plateau.flat(), flat, "value {i}");
            assert_eq!(plateau.is_over(&rule), flat == 3, "value {i}");
        }
        assert!(Length::Plateau(rule).is_over(100, 0.0, &Plateau::default()), "max_steps");
    }
}
