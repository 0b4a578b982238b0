//! SEC: a bandit over categories of samples that goes where the learning signal is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use reft_config::{ArmKey, SecConfig};
use reft_core::{Curriculum, Metrics, Sample, ScoredGroup, Seed, StageError, Stateful};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CurriculumError, Pool, Shuffle, state};

/// Self-evolving curriculum (Chen et al., arXiv 2505.14970): a non-stationary bandit whose arms are categories.
///
/// After each step, for every category `c` that was asked, with `r(c)` the mean absolute advantage of its answers:
///
/// `Q(c) <- alpha * r(c) + (1 - alpha) * Q(c)`, `Q = 0` at the start.
///
/// Each sample of a batch comes from a category drawn with `p(c) = exp(Q(c) / temperature) / sum`, and within it from a
/// shuffle. With advantages normalised by their deviation, a question of pass rate `p` has an expected absolute
/// advantage near `2 sqrt(p (1 - p))`: largest at one half, 0 for what is always or never answered.
#[derive(Clone, Debug)]
pub struct Sec {
    config: SecConfig,
    seed: Seed,
    arms: BTreeMap<String, Arm>,
    drawn: u64,
}

#[derive(Clone, Debug)]
struct Arm {
    samples: Shuffle,
    value: f64,
}

#[derive(Serialize, Deserialize)]
struct State {
    drawn: u64,
    arms: BTreeMap<String, (f64, Value)>,
}

impl Sec {
    /// Sorts the pool into categories.
    pub fn new(config: SecConfig, pool: &Pool, seed: Seed) -> Result<Self, CurriculumError> {
        if pool.is_empty() {
            return Err(CurriculumError::EmptyPool);
        }
        let samples = pool.sources.iter().flat_map(|source| &source.samples);
        let names: BTreeSet<String> = samples.map(|sample| category(config.arms, sample)).collect();
        let arms = names.into_iter().map(|name| {
            let part = pool.part(|sample| category(config.arms, sample) == name);
            let samples = Shuffle::new(part, seed.at("arm").at(name.as_str()))?;
            Ok((name, Arm { samples, value: 0.0 }))
        });
        Ok(Self { config, seed, arms: arms.collect::<Result<_, CurriculumError>>()?, drawn: 0 })
    }

    /// The probability of each category, in order of name.
    pub fn probabilities(&self) -> Vec<(&str, f64)> {
        let scaled = |arm: &Arm| arm.value / self.config.temperature;
        let max = self.arms.values().map(scaled).fold(f64::NEG_INFINITY, f64::max);
        let weights = self.arms.iter().map(|(name, arm)| (name.as_str(), (scaled(arm) - max).exp()));
        let weights: Vec<(&str, f64)> = weights.collect();
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        weights.into_iter().map(|(name, weight)| (name, weight / sum)).collect()
    }

    fn draw(&mut self, probabilities: &[f64]) -> Option<Arc<Sample>> {
        let mut rest = self.seed.at("draw").at(self.drawn).uniform();
        let index = probabilities.iter().position(|p| {
            rest -= p;
            rest < 0.0
        });
        self.drawn += 1;
        // Rounding may leave the sum a hair below the draw: that is the last category.
        let arm = self.arms.values_mut().nth(index.unwrap_or(probabilities.len() - 1))?;
        Some(arm.samples.draw())
    }
}

/// The name of a sample's category, in metrics and states.
fn category(key: ArmKey, sample: &Sample) -> String {
    match key {
        ArmKey::Form => sample.form.to_string(),
        ArmKey::Task => sample.task.to_string(),
        ArmKey::FormTask => format!("{}_{}", sample.form, sample.task),
    }
}

impl Stateful for Sec {
    fn save(&self) -> Result<Value, StageError> {
        let arms = self.arms.iter().map(|(name, arm)| Ok((name.clone(), (arm.value, arm.samples.save()?))));
        state::save(&State { drawn: self.drawn, arms: arms.collect::<Result<_, StageError>>()? })
    }

    fn load(&mut self, saved: &Value) -> Result<(), StageError> {
        let saved: State = state::load(saved)?;
        if !saved.arms.keys().eq(self.arms.keys()) {
            let names = |keys: Vec<&String>| {
                keys.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            };
            return Err(state::broken(format!(
                "it has the categories {}, the data set now has {}; resume with the same data and recipe",
                names(saved.arms.keys().collect()),
                names(self.arms.keys().collect())
            )));
        }
        self.drawn = saved.drawn;
        for (arm, (value, samples)) in self.arms.values_mut().zip(saved.arms.values()) {
            arm.value = *value;
            arm.samples.load(samples)?;
        }
        Ok(())
    }
}

impl Curriculum for Sec {
    fn next_batch(&mut self, _step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        let probabilities: Vec<f64> = self.probabilities().into_iter().map(|(_, p)| p).collect();
        Ok((0..n).filter_map(|_| self.draw(&probabilities)).collect())
    }

    fn observe(&mut self, groups: &[ScoredGroup]) {
        let mut sums: BTreeMap<String, (f64, u32)> = BTreeMap::new();
        for scored in groups {
            let (sum, n) = sums.entry(category(self.config.arms, &scored.group.sample)).or_default();
            *sum += scored.advantages.iter().map(|&a| f64::from(a.abs())).sum::<f64>();
            *n += scored.advantages.len() as u32;
        }
        for (name, (sum, n)) in sums {
            if let Some(arm) = self.arms.get_mut(&name)
                && n > 0
            {
                let reward = sum / f64::from(n);
                arm.value = self.config.alpha * reward + (1.0 - self.config.alpha) * arm.value;
            }
        }
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        for (name, p) in self.probabilities() {
            metrics.set(format!("curriculum/p/{name}"), p);
        }
        let mut size = 0;
        for (name, arm) in &self.arms {
            metrics.set(format!("curriculum/q/{name}"), arm.value);
            size += arm.samples.pool_size();
        }
        metrics.set("curriculum/epoch", self.drawn as f64 / size as f64);
        metrics
    }
}
