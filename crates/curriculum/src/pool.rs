//! What a curriculum draws from.

use std::sync::Arc;

use reft_core::Sample;

/// Samples by source, each source with its weight in a mixture.
///
/// A list of samples is a pool of one source. Curricula that shuffle keep the shares `w_i / sum(w)` within every stretch
/// of draws, give or take one sample; those that choose by difficulty take the samples without them.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    pub(crate) sources: Vec<PoolSource>,
}

/// The samples of one source.
#[derive(Clone, Debug)]
pub(crate) struct PoolSource {
    /// Empty where there is only one.
    pub(crate) name: String,
    pub(crate) weight: f64,
    pub(crate) samples: Vec<Arc<Sample>>,
}

impl Pool {
    /// A pool without sources.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source. `weight` is positive; only its ratio to the others matters.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, weight: f64, samples: Vec<Arc<Sample>>) -> Self {
        self.sources.push(PoolSource { name: name.into(), weight, samples });
        self
    }

    /// All samples, source by source.
    pub(crate) fn into_samples(self) -> Vec<Arc<Sample>> {
        self.sources.into_iter().flat_map(|source| source.samples).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.iter().all(|source| source.samples.is_empty())
    }

    /// The part of the pool that `keep` picks, with the same weights.
    pub(crate) fn part(&self, keep: impl Fn(&Sample) -> bool) -> Self {
        let sources = self.sources.iter().map(|source| PoolSource {
            name: source.name.clone(),
            weight: source.weight,
            samples: source.samples.iter().filter(|sample| keep(sample)).cloned().collect(),
        });
        Self { sources: sources.collect() }
    }
}

impl From<Vec<Arc<Sample>>> for Pool {
    fn from(samples: Vec<Arc<Sample>>) -> Self {
        Self::new().with("", 1.0, samples)
    }
}
