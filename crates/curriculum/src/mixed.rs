//! All stages at once: the control arm of the staged curriculum.

use std::sync::Arc;

use reft_core::{Curriculum, Metrics, Sample, Seed, StageError, Stateful};
use serde_json::Value;

use crate::{CurriculumError, Pool, Shuffle, Stage, length::Length, state};

/// Draws from every stage of a staged curriculum in every batch, each in proportion to its steps.
///
/// The "Mix" arm of the ablation of Curr-ReFT (arXiv 2503.07065): over as many steps as the stages have together, each
/// form is seen as often as in the staged curriculum, only not in order. Each draw goes to the stage that is furthest
/// behind its share, `argmax_i w_i (N + 1) - n_i` with `n_i` of `N` draws so far.
#[derive(Clone, Debug)]
pub struct Mixed {
    /// Weight and samples of each stage.
    stages: Vec<(f64, Shuffle)>,
}

impl Mixed {
    /// Splits the pool by the stages' forms. Every stage needs a length in steps.
    pub fn new(stages: &[Stage], pool: &Pool, seed: Seed) -> Result<Self, CurriculumError> {
        if stages.is_empty() {
            return Err(CurriculumError::NoStages);
        }
        if pool.is_empty() {
            return Err(CurriculumError::EmptyPool);
        }
        let steps = stages.iter().enumerate().map(|(index, stage)| match stage.length {
            Length::Steps(steps) => Ok(steps as f64),
            Length::Epochs(_) | Length::Plateau(_) => Err(CurriculumError::MixedLength { stage: index + 1 }),
        });
        let steps = steps.collect::<Result<Vec<f64>, _>>()?;
        let total: f64 = steps.iter().sum();
        let stages = stages
            .iter()
            .enumerate()
            .map(|(index, stage)| Ok((steps[index] / total, stage.shuffle(index, pool, seed)?)));
        Ok(Self { stages: stages.collect::<Result<_, CurriculumError>>()? })
    }

    fn draw(&mut self) -> Arc<Sample> {
        let drawn: Vec<(f64, u64)> =
            self.stages.iter().map(|(weight, shuffle)| (*weight, shuffle.drawn())).collect();
        self.stages[state::furthest_behind(&drawn)].1.draw()
    }
}

impl Stateful for Mixed {
    fn save(&self) -> Result<Value, StageError> {
        self.stages.iter().map(|(_, shuffle)| shuffle.save()).collect()
    }

    fn load(&mut self, saved: &Value) -> Result<(), StageError> {
        let saved: Vec<Value> = state::load(saved)?;
        if saved.len() != self.stages.len() {
            return Err(state::broken(format!(
                "the state has {} stages, the recipe {}; resume with the same recipe",
                saved.len(),
                self.stages.len()
            )));
        }
        self.stages.iter_mut().zip(&saved).try_for_each(|((_, shuffle), state)| shuffle.load(state))
    }
}

impl Curriculum for Mixed {
    fn next_batch(&mut self, _step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        Ok((0..n).map(|_| self.draw()).collect())
    }

    fn metrics(&self) -> Metrics {
        let drawn: u64 = self.stages.iter().map(|(_, shuffle)| shuffle.drawn()).sum();
        let size: f64 = self.stages.iter().map(|(_, shuffle)| shuffle.pool_size() as f64).sum();
        let mut metrics = Metrics::new();
        metrics.set("curriculum/epoch", drawn as f64 / size);
        metrics
    }
}
