//! Forms one after another within a phase.

use std::sync::Arc;

use reft_config::StageConfig;
use reft_core::{Curriculum, Form, Metrics, Sample, Seed, StageError, Stateful};
use serde_json::Value;

use crate::{CurriculumError, Shuffle};

/// One stage: which forms, and for how many steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Forms to draw from.
    pub forms: Vec<Form>,
    /// Steps; the last stage lasts until the phase ends, whatever it says here.
    pub steps: u64,
}

impl From<&StageConfig> for Stage {
    fn from(config: &StageConfig) -> Self {
        Self { forms: config.forms.iter().map(|form| form.0).collect(), steps: config.steps }
    }
}

/// Goes through stages by the phase's step; each shuffles its own part of the pool.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The step after each stage's last, and the stage's samples.
    stages: Vec<(u64, Shuffle)>,
    current: usize,
}

impl Staged {
    /// Splits the pool by the stages' forms.
    pub fn new(stages: &[Stage], pool: &[Arc<Sample>], seed: Seed) -> Result<Self, CurriculumError> {
        if stages.is_empty() {
            return Err(CurriculumError::NoStages);
        }
        if pool.is_empty() {
            return Err(CurriculumError::EmptyPool);
        }
        let mut end = 0_u64;
        let stages = stages
            .iter()
            .enumerate()
            .map(|(index, stage)| {
                let part = pool.iter().filter(|sample| stage.forms.contains(&sample.form)).cloned().collect();
                let shuffle = Shuffle::new(part, seed.at("stage").at(index)).map_err(|_| {
                    let forms: Vec<_> = stage.forms.iter().map(|form| format!("`{form}`")).collect();
                    CurriculumError::EmptyStage { stage: index + 1, forms: forms.join(", ") }
                })?;
                end = end.saturating_add(stage.steps);
                Ok((end, shuffle))
            })
            .collect::<Result<_, CurriculumError>>()?;
        Ok(Self { stages, current: 0 })
    }

    fn stage_at(&self, step: u64) -> usize {
        let last = self.stages.len() - 1;
        self.stages.iter().position(|(end, _)| step < *end).unwrap_or(last)
    }
}

impl Stateful for Staged {
    fn save(&self) -> Result<Value, StageError> {
        self.stages.iter().map(|(_, shuffle)| shuffle.save()).collect()
    }

    fn load(&mut self, state: &Value) -> Result<(), StageError> {
        let states = state.as_array().map_or(&[][..], Vec::as_slice);
        if states.len() != self.stages.len() {
            return Err(StageError::State {
                stage: "curriculum",
                message: format!(
                    "the state has {} stages, the recipe {}; resume with the same recipe",
                    states.len(),
                    self.stages.len()
                ),
            });
        }
        self.stages.iter_mut().zip(states).try_for_each(|((_, shuffle), state)| shuffle.load(state))
    }
}

impl Curriculum for Staged {
    fn next_batch(&mut self, step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        self.current = self.stage_at(step);
        self.stages[self.current].1.next_batch(step, n)
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = self.stages[self.current].1.metrics();
        metrics.set("curriculum/stage", (self.current + 1) as f64);
        metrics
    }
}
