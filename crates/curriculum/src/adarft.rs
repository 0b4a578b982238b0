//! AdaRFT: samples near a target difficulty that rises with the reward.

use std::{cmp::Ordering, sync::Arc};

use reft_config::AdaRftConfig;
use reft_core::{Curriculum, Metrics, Sample, ScoredGroup, Seed, StageError, Stateful};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CurriculumError, recency::Recency, state};

/// Adaptive curriculum reinforcement finetuning (Shi et al., arXiv 2504.05520).
///
/// Every sample has a difficulty `d` on a scale of 0 to 100. A batch is the samples with the smallest `|d - T|`; after
/// the step, with `R` its mean accuracy,
///
/// `T <- clip(T + eta * tanh(alpha * (R - beta)), 0, 100)`.
///
/// So questions get harder while more than `beta` of the answers are right, and easier while fewer are.
/// Where we differ: distances are counted in whole multiples of `spread`, and among equally distant samples the one
/// drawn longest ago comes first; `spread = 0` gives the paper's order, which repeats its samples while `T` stands.
#[derive(Clone, Debug)]
pub struct AdaRft {
    config: AdaRftConfig,
    pool: Vec<Arc<Sample>>,
    difficulties: Vec<f64>,
    seed: Seed,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    data: String,
    target: f64,
    drawn: u64,
    last: Recency,
    /// Mean difficulty of the last batch.
    difficulty: f64,
}

impl AdaRft {
    /// `difficulties` are those of the samples of `pool`, in its order.
    pub fn new(
        config: AdaRftConfig,
        pool: Vec<Arc<Sample>>,
        difficulties: Vec<f64>,
        seed: Seed,
    ) -> Result<Self, CurriculumError> {
        if pool.is_empty() {
            return Err(CurriculumError::EmptyPool);
        }
        if difficulties.len() != pool.len() {
            return Err(CurriculumError::Difficulties {
                samples: pool.len(),
                difficulties: difficulties.len(),
            });
        }
        let state = State {
            data: state::fingerprint(&pool),
            target: config.start,
            drawn: 0,
            last: Recency::new(pool.len()),
            difficulty: 0.0,
        };
        Ok(Self { config, pool, difficulties, seed, state })
    }

    /// The target difficulty.
    pub fn target(&self) -> f64 {
        self.state.target
    }

    /// How far a sample is from the target, in multiples of `spread`.
    fn distance(&self, index: usize) -> Distance {
        let distance = (self.difficulties[index] - self.state.target).abs();
        Distance(if self.config.spread > 0.0 { (distance / self.config.spread).floor() } else { distance })
    }
}

/// A number to sort by; never NaN where difficulties are not.
struct Distance(f64);

impl PartialEq for Distance {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Distance {}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Distance {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Stateful for AdaRft {
    fn save(&self) -> Result<Value, StageError> {
        state::save(&self.state)
    }

    fn load(&mut self, saved: &Value) -> Result<(), StageError> {
        let saved: State = state::load(saved)?;
        state::same_pool(&saved.data, &self.pool)?;
        self.state = saved;
        Ok(())
    }
}

impl Curriculum for AdaRft {
    fn next_batch(&mut self, _step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        let mut ranked: Vec<_> = (0..self.pool.len()).collect();
        ranked.sort_by_cached_key(|&i| (self.distance(i), self.state.last.rank(i, self.seed)));
        // A batch larger than the pool goes through it more than once.
        let chosen: Vec<usize> = ranked.into_iter().cycle().take(n).collect();
        for &index in &chosen {
            self.state.drawn += 1;
            self.state.last.mark(index, self.state.drawn);
        }
        let difficulties: f64 = chosen.iter().map(|&i| self.difficulties[i]).sum();
        self.state.difficulty = difficulties / n.max(1) as f64;
        Ok(chosen.into_iter().map(|i| Arc::clone(&self.pool[i])).collect())
    }

    fn observe(&mut self, groups: &[ScoredGroup]) {
        if groups.is_empty() {
            return;
        }
        let reward = groups.iter().map(ScoredGroup::pass_rate).sum::<f64>() / groups.len() as f64;
        let AdaRftConfig { alpha, beta, eta, .. } = self.config;
        let change = eta * (alpha * (reward - beta)).tanh();
        self.state.target = (self.state.target + change).clamp(0.0, 100.0);
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        metrics.set("curriculum/target", self.state.target);
        metrics.set("curriculum/difficulty", self.state.difficulty);
        metrics.set("curriculum/seen", self.state.last.seen() as f64 / self.pool.len() as f64);
        metrics
    }
}
