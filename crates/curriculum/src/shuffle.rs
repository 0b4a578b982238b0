//! A seeded shuffle, epoch after epoch, balanced within each batch.

use std::sync::Arc;

use reft_core::{Curriculum, Metrics, Sample, Seed, StageError, Stateful};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CurriculumError, balance, state};

/// Draws every sample once per epoch, in an order of its own for each epoch.
///
/// Each batch has the pool's shares of form, task, and (binary) yes and no, give or take one sample.
/// The order is a function of the seed and the epoch, so the state is the number of samples drawn so far.
#[derive(Clone, Debug)]
pub struct Shuffle {
    pool: Vec<Arc<Sample>>,
    seed: Seed,
    drawn: u64,
    /// The epoch that `order` belongs to.
    epoch: u64,
    order: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
struct State {
    drawn: u64,
    pool: usize,
}

impl Shuffle {
    /// Starts at the first epoch.
    pub fn new(pool: Vec<Arc<Sample>>, seed: Seed) -> Result<Self, CurriculumError> {
        if pool.is_empty() {
            return Err(CurriculumError::EmptyPool);
        }
        let order = balance::order(&pool, seed.at(0_u64));
        Ok(Self { pool, seed, drawn: 0, epoch: 0, order })
    }

    /// How many times the pool was gone through, with the fraction of the current time.
    pub fn epochs(&self) -> f64 {
        self.drawn as f64 / self.pool.len() as f64
    }

    /// How many samples were drawn.
    pub(crate) fn drawn(&self) -> u64 {
        self.drawn
    }

    /// How many samples there are.
    pub(crate) fn pool_size(&self) -> usize {
        self.pool.len()
    }

    /// The next sample.
    pub(crate) fn draw(&mut self) -> Arc<Sample> {
        let size = self.pool.len() as u64;
        let (epoch, place) = (self.drawn / size, self.drawn % size);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.order = balance::order(&self.pool, self.seed.at(epoch));
        }
        self.drawn += 1;
        Arc::clone(&self.pool[self.order[place as usize]])
    }
}

impl Stateful for Shuffle {
    fn save(&self) -> Result<Value, StageError> {
        state::save(&State { drawn: self.drawn, pool: self.pool.len() })
    }

    fn load(&mut self, saved: &Value) -> Result<(), StageError> {
        let state: State = state::load(saved)?;
        if state.pool != self.pool.len() {
            return Err(state::broken(format!(
                "it drew from {} samples, the data set now has {}; resume with the same data",
                state.pool,
                self.pool.len()
            )));
        }
        self.drawn = state.drawn;
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
        metrics
    }
}
