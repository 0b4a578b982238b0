//! Easy, normal and hard samples, by how well each was answered so far.

use std::{collections::HashMap, sync::Arc};

use reft_config::PoolsConfig;
use reft_core::{Curriculum, Metrics, Sample, SampleId, ScoredGroup, Seed, StageError, Stateful};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CurriculumError, recency::Recency, state};

/// Difficulty pools, as in INTELLECT-2 (arXiv 2505.07291) and the difficulty-graded sampling of GLM-4.1V-Thinking
/// (RLCS, arXiv 2507.01006).
///
/// The pass rate of a sample is a moving average over its groups, `p <- alpha * x + (1 - alpha) * p` with `x` the
/// group's mean accuracy (`p = x` at first). `p >= easy` is easy, `p <= hard` is hard, everything else, never asked
/// included, is normal. Each draw goes to a pool by its share (those of empty pools go to the others), and within it to
/// the sample drawn longest ago. So rollouts go to questions that are sometimes answered, while a trickle of the others
/// notices what was forgotten and what has come into reach.
#[derive(Clone, Debug)]
pub struct Pools {
    config: PoolsConfig,
    pool: Vec<Arc<Sample>>,
    index_of: HashMap<SampleId, usize>,
    seed: Seed,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    data: String,
    drawn: u64,
    last: Recency,
    /// Moving averages of pass rates; none for samples never asked.
    pass_rates: Vec<Option<f64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Easy,
    Normal,
    Hard,
}

const LEVELS: [Level; 3] = [Level::Easy, Level::Normal, Level::Hard];

impl Pools {
    /// Every sample is normal at first.
    pub fn new(config: PoolsConfig, pool: Vec<Arc<Sample>>, seed: Seed) -> Result<Self, CurriculumError> {
        if pool.is_empty() {
            return Err(CurriculumError::EmptyPool);
        }
        let state = State {
            data: state::fingerprint(&pool),
            drawn: 0,
            last: Recency::new(pool.len()),
            pass_rates: vec![None; pool.len()],
        };
        let index_of = pool.iter().enumerate().map(|(i, sample)| (sample.id.clone(), i)).collect();
        Ok(Self { config, pool, index_of, seed, state })
    }

    fn level(&self, index: usize) -> Level {
        match self.state.pass_rates[index] {
            Some(p) if p >= self.config.easy => Level::Easy,
            Some(p) if p <= self.config.hard => Level::Hard,
            Some(_) | None => Level::Normal,
        }
    }

    /// Samples in each of [`LEVELS`].
    fn sizes(&self) -> [usize; 3] {
        let mut sizes = [0; 3];
        for index in 0..self.pool.len() {
            sizes[self.level(index) as usize] += 1;
        }
        sizes
    }

    /// The pool of the next draw: by the shares of those that are not empty.
    fn choose(&self, sizes: [usize; 3]) -> Level {
        let PoolsConfig { easy_share, hard_share, .. } = self.config;
        let mut shares = [easy_share, (1.0 - easy_share - hard_share).max(0.0), hard_share];
        for (share, size) in shares.iter_mut().zip(sizes) {
            if size == 0 {
                *share = 0.0;
            }
        }
        let mut rest = self.seed.at("pool").at(self.state.drawn).uniform() * shares.iter().sum::<f64>();
        let chosen = LEVELS.into_iter().zip(shares).find(|(_, share)| {
            rest -= share;
            rest < 0.0
        });
        // All shares are 0 when only pools without a share have samples: take the largest of them.
        let largest = LEVELS.into_iter().max_by_key(|level| sizes[*level as usize]);
        chosen.map(|(level, _)| level).or(largest).unwrap_or(Level::Normal)
    }
}

impl Stateful for Pools {
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

impl Curriculum for Pools {
    fn next_batch(&mut self, _step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        let levels: Vec<Level> = (0..self.pool.len()).map(|index| self.level(index)).collect();
        let sizes = self.sizes();
        let mut batch = Vec::with_capacity(n);
        for _ in 0..n {
            let level = self.choose(sizes);
            self.state.drawn += 1;
            let of_level = (0..self.pool.len()).filter(|&i| levels[i] == level);
            if let Some(index) = of_level.min_by_key(|&i| self.state.last.rank(i, self.seed)) {
                self.state.last.mark(index, self.state.drawn);
                batch.push(Arc::clone(&self.pool[index]));
            }
        }
        Ok(batch)
    }

    fn observe(&mut self, groups: &[ScoredGroup]) {
        for scored in groups {
            if let Some(&index) = self.index_of.get(&scored.group.sample.id) {
                let rate = &mut self.state.pass_rates[index];
                let new = scored.pass_rate();
                *rate =
                    Some(rate.map_or(new, |old| self.config.alpha * new + (1.0 - self.config.alpha) * old));
            }
        }
    }

    fn metrics(&self) -> Metrics {
        let [easy, normal, hard] = self.sizes();
        let mut metrics = Metrics::new();
        metrics.set("curriculum/easy", easy as f64);
        metrics.set("curriculum/normal", normal as f64);
        metrics.set("curriculum/hard", hard as f64);
        metrics.set("curriculum/seen", self.state.last.seen() as f64 / self.pool.len() as f64);
        metrics
    }
}
