//! Forms one after another within a phase.

use std::sync::Arc;

use reft_config::StageConfig;
use reft_core::{Curriculum, Form, Metrics, Sample, ScoredGroup, Seed, StageError, Stateful};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CurriculumError, Pool, Shuffle,
    length::{Length, Plateau},
    state,
};

/// One stage: which forms, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Forms to draw from.
    pub forms: Vec<Form>,
    /// The last stage lasts until the phase ends, whatever it says here.
    pub length: Length,
}

impl Stage {
    /// Stage `index` of a recipe.
    pub(crate) fn from_config(index: usize, config: &StageConfig) -> Result<Self, CurriculumError> {
        let length = Length::of(config).ok_or(CurriculumError::NoLength { stage: index + 1 })?;
        Ok(Self { forms: config.forms.iter().map(|form| form.0).collect(), length })
    }

    /// A shuffle of the stage's part of the pool.
    pub(crate) fn shuffle(&self, index: usize, pool: &Pool, seed: Seed) -> Result<Shuffle, CurriculumError> {
        let part = pool.part(|sample| self.forms.contains(&sample.form));
        Shuffle::new(part, seed.at("stage").at(index)).map_err(|_| {
            let forms: Vec<_> = self.forms.iter().map(|form| format!("`{form}`")).collect();
            CurriculumError::EmptyStage { stage: index + 1, forms: forms.join(", ") }
        })
    }
}

/// Goes through stages; each shuffles its own part of the pool.
///
/// The curriculum of Curr-ReFT (arXiv 2503.07065): binary decision, then multiple choice, then open. Easier forms are
/// answered right by chance or with little skill, so their groups are mixed from the first step, and what is learnt
/// there makes the groups of the next form mixed. A stage ends between steps, by its [`Length`].
#[derive(Clone, Debug)]
pub struct Staged {
    stages: Vec<(Length, Shuffle)>,
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    current: usize,
    /// The step at which the current stage began.
    since: u64,
    /// The step that was asked for last.
    step: u64,
    plateau: Plateau,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    stages: Vec<Value>,
    state: State,
}

impl Staged {
    /// Splits the pool by the stages' forms.
    pub fn new(stages: &[Stage], pool: &Pool, seed: Seed) -> Result<Self, CurriculumError> {
        if stages.is_empty() {
            return Err(CurriculumError::NoStages);
        }
        if pool.is_empty() {
            return Err(CurriculumError::EmptyPool);
        }
        let stages = stages.iter().enumerate().map(|(index, stage)| {
            let shuffle = stage.shuffle(index, pool, seed)?;
            Ok((stage.length, shuffle))
        });
        Ok(Self { stages: stages.collect::<Result<_, CurriculumError>>()?, state: State::default() })
    }

    /// The stages from the last to the first.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.stages.reverse();
        self
    }

    /// Moves to the stage that a new step belongs to.
    fn enter(&mut self, step: u64) {
        let state = &mut self.state;
        if step == state.step {
            return;
        }
        state.step = step;
        while state.current + 1 < self.stages.len() {
            let (length, shuffle) = &self.stages[state.current];
            if !length.is_over(step - state.since, shuffle.epochs(), &state.plateau) {
                break;
            }
            let since = match length {
                Length::Steps(steps) => state.since + steps,
                Length::Epochs(_) | Length::Plateau(_) => step,
            };
            *state = State { current: state.current + 1, since, step, plateau: Plateau::default() };
        }
    }
}

impl Stateful for Staged {
    fn save(&self) -> Result<Value, StageError> {
        let stages = self.stages.iter().map(|(_, shuffle)| shuffle.save()).collect::<Result<_, _>>()?;
        state::save(&Saved { stages, state: self.state.clone() })
    }

    fn load(&mut self, saved: &Value) -> Result<(), StageError> {
        let saved: Saved = state::load(saved)?;
        if saved.stages.len() != self.stages.len() || saved.state.current >= self.stages.len() {
            return Err(state::broken(format!(
                "the state has {} stages, the recipe {}; resume with the same recipe",
                saved.stages.len(),
                self.stages.len()
            )));
        }
        self.state = saved.state;
        self.stages.iter_mut().zip(&saved.stages).try_for_each(|((_, shuffle), state)| shuffle.load(state))
    }
}

impl Curriculum for Staged {
    fn next_batch(&mut self, step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        self.enter(step);
        self.stages[self.state.current].1.next_batch(step, n)
    }

    fn observe(&mut self, groups: &[ScoredGroup]) {
        if let (Length::Plateau(rule), _) = &self.stages[self.state.current]
            && !groups.is_empty()
        {
            let mean = groups.iter().map(ScoredGroup::pass_rate).sum::<f64>() / groups.len() as f64;
            self.state.plateau.push(rule, mean);
        }
    }

    fn metrics(&self) -> Metrics {
        let (length, shuffle) = &self.stages[self.state.current];
        let mut metrics = shuffle.metrics();
        metrics.set("curriculum/stage", (self.state.current + 1) as f64);
        if matches!(length, Length::Plateau(_)) {
            metrics.set("curriculum/flat_steps", self.state.plateau.flat() as f64);
        }
        metrics
    }
}
