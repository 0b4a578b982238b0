//! A seeded shuffle, epoch after epoch, balanced within each batch.

use std::sync::Arc;

use reft_core::{Curriculum, Metrics, Sample, Seed, StageError, Stateful};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CurriculumError, Pool, balance, state};

/// Draws every sample once per epoch, in an order of its own for each epoch.
///
/// Each batch has the pool's shares of form, task, and (binary) yes and no, give or take one sample.
/// The order is a function of the seed and the epoch, so the state is the number of samples drawn so far.
///
/// Of a mixture, each source has epochs of its own. Each draw goes to the source that is furthest behind its share,
/// `argmax_i w_i (N + 1) - n_i` with `n_i` of `N` draws so far and weights that add up to 1.
#[derive(Clone, Debug)]
pub struct Shuffle {
    sources: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    name: String,
    share: f64,
    pool: Vec<Arc<Sample>>,
    seed: Seed,
    drawn: u64,
    /// The epoch that `order` belongs to.
    epoch: u64,
    order: Vec<usize>,
}

/// Samples drawn from each source, and how many there are.
#[derive(Serialize, Deserialize)]
struct State {
    drawn: Vec<u64>,
    pool: Vec<usize>,
}

impl Shuffle {
    /// Starts at the first epoch. Sources without samples are left out.
    pub fn new(pool: impl Into<Pool>, seed: Seed) -> Result<Self, CurriculumError> {
        let pool: Pool = pool.into();
        if pool.is_empty() {
            return Err(CurriculumError::EmptyPool);
        }
        let sources = || pool.sources.iter().filter(|source| !source.samples.is_empty());
        let total: f64 = sources().map(|source| source.weight).sum();
        let sources = sources().map(|source| {
            let seed = if source.name.is_empty() { seed } else { seed.at(source.name.as_str()) };
            Source {
                name: source.name.clone(),
                share: source.weight / total,
                pool: source.samples.clone(),
                seed,
                drawn: 0,
                epoch: 0,
                order: balance::order(&source.samples, seed.at(0_u64)),
            }
        });
        Ok(Self { sources: sources.collect() })
    }

    /// How many times the pool was gone through, with the fraction of the current time.
    pub fn epochs(&self) -> f64 {
        self.drawn() as f64 / self.pool_size() as f64
    }

    /// How many samples were drawn.
    pub(crate) fn drawn(&self) -> u64 {
        self.sources.iter().map(|source| source.drawn).sum()
    }

    /// How many samples there are.
    pub(crate) fn pool_size(&self) -> usize {
        self.sources.iter().map(|source| source.pool.len()).sum()
    }

    /// The next sample.
    pub(crate) fn draw(&mut self) -> Arc<Sample> {
        let behind: Vec<(f64, u64)> =
            self.sources.iter().map(|source| (source.share, source.drawn)).collect();
        self.sources[state::furthest_behind(&behind)].draw()
    }
}

impl Source {
    fn draw(&mut self) -> Arc<Sample> {
        let size = self.pool.len() as u64;
        let (epoch, index) = (self.drawn / size, self.drawn % size);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.order = balance::order(&self.pool, self.seed.at(epoch));
        }
        self.drawn += 1;
        Arc::clone(&self.pool[self.order[index as usize]])
    }
}

impl Stateful for Shuffle {
    fn save(&self) -> Result<Value, StageError> {
        state::save(&State {
            drawn: self.sources.iter().map(|source| source.drawn).collect(),
            pool: self.sources.iter().map(|source| source.pool.len()).collect(),
        })
    }

    fn load(&mut self, saved: &Value) -> Result<(), StageError> {
        let state: State = state::load(saved)?;
        let sizes: Vec<usize> = self.sources.iter().map(|source| source.pool.len()).collect();
        if state.pool != sizes || state.drawn.len() != sizes.len() {
            let list = |sizes: &[usize]| sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" + ");
            return Err(state::broken(format!(
                "it drew from {} samples, the data set now has {}; resume with the same data",
                list(&state.pool),
                list(&sizes)
            )));
        }
        for (source, drawn) in self.sources.iter_mut().zip(state.drawn) {
            source.drawn = drawn;
        }
        Ok(())
    }
}

impl Curriculum for Shuffle {
    fn next_batch(&mut self, _step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        Ok((0..n).map(|_| self.draw()).collect())
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        metrics.set("curriculum/epoch", self.epochs());
        if self.sources.len() > 1 {
            for source in &self.sources {
                let epochs = source.drawn as f64 / source.pool.len() as f64;
                metrics.set(format!("curriculum/epoch/{}", source.name), epochs);
            }
        }
        metrics
    }
}
