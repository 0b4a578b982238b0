//! Least recently drawn first: among equals, everyone has a turn before anyone has a second one.

use reft_core::Seed;
use serde::{Deserialize, Serialize};

/// When each sample of a pool was drawn last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Recency {
    /// The number of the last draw, from 1; 0 for never.
    last: Vec<u64>,
}

impl Recency {
    pub(crate) fn new(pool: usize) -> Self {
        Self { last: vec![0; pool] }
    }

    /// How many samples were drawn at least once.
    pub(crate) fn seen(&self) -> usize {
        self.last.iter().filter(|&&last| last > 0).count()
    }

    /// What to sort samples by: the one drawn longest ago first. Which of the never drawn comes first is a matter of
    /// the seed.
    pub(crate) fn rank(&self, index: usize, seed: Seed) -> (u64, u64, usize) {
        (self.last[index], seed.at(index).key(), index)
    }

    /// Notes draw number `draw`, counted from 1.
    pub(crate) fn mark(&mut self, index: usize, draw: u64) {
        self.last[index] = draw;
    }
}
