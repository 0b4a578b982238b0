//! Stops a phase that learns nothing, and says why.
//!
//! Runs whose rewards never differ, or whose every answer is cut, look healthy for days. A guard looks at the last steps and
//! stops the phase with what it saw: the shares, the likely cause, the nearest misses. Its memory is in the checkpoint,
//! so a resumed run stops at the same step.

use std::collections::VecDeque;

use reft_core::{Metrics, ScoredGroup, StageError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::preflight::{Miss, list, misses};

/// When a phase stops. Means are over the last `window` steps, once there are as many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// Steps to look back on.
    pub window: usize,
    /// Smallest mean share of groups whose rewards differ.
    pub min_teaching: f64,
    /// Largest mean share of answers cut by the length limit.
    pub max_truncated: f64,
}

/// Why a phase stops.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GuardError {
    /// Rewards hardly ever differ within a group.
    #[error(
        "over the last {steps} steps only {teaching:.1} % of the groups had rewards that differ, so the phase learns \
         nothing: {cause} ({right:.0} % of the last step's groups all right, {wrong:.0} % all wrong){}{OVERRIDE}",
        list(misses)
    )]
    NoSignal {
        /// Steps looked at.
        steps: usize,
        /// Percentage of groups whose rewards differ.
        teaching: f64,
        /// What probably is the matter, and what to do.
        cause: &'static str,
        /// Percentage of the last step's groups in which every answer is right.
        right: f64,
        /// Percentage of the last step's groups in which every answer is wrong.
        wrong: f64,
        /// The last step's answers that were paid most without being right.
        misses: Vec<Miss>,
    },
    /// Nearly every answer is cut.
    #[error(
        "over the last {steps} steps {truncated:.1} % of the answers were cut by the length limit, so hardly one could \
         be finished: raise `sampling.max_new_tokens`, or pay short answers (`reward.length`){}{OVERRIDE}",
        list(misses)
    )]
    Truncated {
        /// Steps looked at.
        steps: usize,
        /// Percentage of answers that were cut.
        truncated: f64,
        /// The last step's answers that were paid most without being right.
        misses: Vec<Miss>,
    },
}

const OVERRIDE: &str = "\nset `guard.window = 0` in the phase to train anyway";

/// A guard at work.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Watch {
    guard: Guard,
    steps: VecDeque<Seen>,
}

/// What is remembered of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    teaching: f64,
    truncated: f64,
}

impl Watch {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard, steps: VecDeque::new() }
    }

    /// Notes a step and stops when the last ones taught nothing.
    pub(crate) fn step(&mut self, metrics: &Metrics, groups: &[ScoredGroup]) -> Result<(), StageError> {
        let share = |name: &str| metrics.get(name).unwrap_or(0.0);
        self.steps.push_back(Seen {
            teaching: 1.0 - share("reward/zero_std"),
            truncated: share("completion/truncated"),
        });
        while self.steps.len() > self.guard.window {
            self.steps.pop_front();
        }
        let steps = self.steps.len();
        if steps < self.guard.window || steps == 0 {
            return Ok(());
        }
        let mean = |of: fn(&Seen) -> f64| self.steps.iter().map(of).sum::<f64>() / steps as f64;
        let (teaching, truncated) = (mean(|seen| seen.teaching), mean(|seen| seen.truncated));
        let error = if truncated > self.guard.max_truncated {
            GuardError::Truncated { steps, truncated: 100.0 * truncated, misses: misses(groups) }
        } else if teaching < self.guard.min_teaching {
            GuardError::NoSignal {
                steps,
                teaching: 100.0 * teaching,
                cause: cause(metrics, truncated),
                right: 100.0 * share("groups/all_right"),
                wrong: 100.0 * share("groups/all_wrong"),
                misses: misses(groups),
            }
        } else {
            return Ok(());
        };
        Err(StageError::other("guard", error))
    }

    pub(crate) fn save(&self) -> Result<Value, StageError> {
        serde_json::to_value(&self.steps).map_err(|error| StageError::other("guard", error))
    }

    pub(crate) fn load(&mut self, saved: &Value) -> Result<(), StageError> {
        self.steps = VecDeque::deserialize(saved)
            .map_err(|error| StageError::State { stage: "guard", message: error.to_string() })?;
        Ok(())
    }
}

/// The likeliest reason why rewards do not differ, by what the last step shows.
fn cause(metrics: &Metrics, truncated: f64) -> &'static str {
    let share = |name: &str| metrics.get(name).unwrap_or(0.0);
    if share("groups/all_right") > 0.5 {
        "the questions are answered already; go on with the next form or harder ones"
    } else if truncated > 0.5 {
        "most answers are cut before they end; raise `sampling.max_new_tokens`"
    } else if metrics.get("reward/format").is_some_and(|format| format < 0.05) {
        "the answers are hardly ever in the asked format; check the prompt against the misses, or fine-tune on a few \
         demonstrations first"
    } else {
        "the questions are too hard, or right answers are not recognised; take an easier form first, a higher \
         temperature, and check the misses"
    }
}
