//! Image features that are kept from pass to pass: between rollout, trainer and KL reference, and between the steps of a
//! frozen tower.
//!
//! Features are those of one image (its key tells the bytes and the settings of the processor) and of the weights that
//! made them: buffers in memory, and how often those have been written to, which libtorch counts. An update of the tower
//! or a loaded checkpoint therefore makes its features unreachable, and they are dropped.
//!
//! Only passes that record no gradient of the tower come here. They run the tower on one image at a time and by tensor
//! operations alone, so that kept features are equal to the last bit to those that would be made anew.

use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use tch::no_grad;

use super::{
    VisionFeatures,
    inference::without_kernels,
    params::{Version, VisionMemory},
};
use crate::processor::ImageKey;

/// The features of images, the least recently used of them dropped when they exceed a budget.
pub struct KeptFeatures {
    budget: u64,
    kept: Mutex<Kept>,
}

/// What there is.
struct Kept {
    features: LruCache<(u64, ImageKey), VisionFeatures>,
    bytes: u64,
    towers: Vec<Tower>,
    /// Towers seen so far.
    n_towers: u64,
}

/// A tower that features were made with.
struct Tower {
    id: u64,
    weights: Vec<Version>,
}

impl KeptFeatures {
    /// Keeps at most `budget` bytes; with 0, nothing.
    pub fn within(budget: u64) -> Self {
        let kept = Kept { features: LruCache::unbounded(), bytes: 0, towers: Vec::new(), n_towers: 0 };
        Self { budget, kept: Mutex::new(kept) }
    }

    /// Images whose features are kept, once for each tower that has seen them.
    pub fn n_images(&self) -> usize {
        self.lock(|kept| kept.features.len())
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        self.lock(|kept| kept.bytes)
    }

    /// The features of an image by the tower whose weights lie in `memory`; made anew by `encode` when they are not here.
    pub(super) fn find(
        &self,
        memory: &[VisionMemory],
        image: ImageKey,
        encode: impl FnOnce() -> VisionFeatures,
    ) -> VisionFeatures {
        let encode = || no_grad(|| without_kernels(encode));
        if self.budget == 0 {
            return encode();
        }
        let weights = memory.iter().map(VisionMemory::version).collect();
        let tower = self.lock(|kept| kept.tower(weights));
        if let Some(features) =
            self.lock(|kept| kept.features.get(&(tower, image)).map(VisionFeatures::share))
        {
            return features;
        }
        let features = encode();
        self.lock(|kept| kept.put((tower, image), features.share(), self.budget));
        features
    }

    fn lock<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        // Whoever panicked with it left nothing half done that matters: features are made anew.
        look(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    /// The number of the tower with these weights; drops what belongs to weights that are no more.
    fn tower(&mut self, weights: Vec<Version>) -> u64 {
        let is_outdated = |tower: &mut Tower| tower.weights.iter().any(|own| own.is_outdated(&weights));
        let outdated: Vec<u64> = self.towers.extract_if(.., is_outdated).map(|tower| tower.id).collect();
        if !outdated.is_empty() {
            let keys = self.features.iter().map(|(&key, _)| key);
            for key in keys.filter(|(tower, _)| outdated.contains(tower)).collect::<Vec<_>>() {
                let dropped = self.features.pop(&key);
                self.bytes -= dropped.map_or(0, |features| features.bytes());
            }
        }
        if let Some(tower) = self.towers.iter().find(|tower| tower.weights == weights) {
            return tower.id;
        }
        self.n_towers += 1;
        self.towers.push(Tower { id: self.n_towers, weights });
        self.n_towers
    }

    fn put(&mut self, key: (u64, ImageKey), features: VisionFeatures, budget: u64) {
        self.bytes += features.bytes();
        let replaced = self.features.put(key, features);
        self.bytes -= replaced.map_or(0, |features| features.bytes());
        while self.bytes > budget {
            let Some((_, dropped)) = self.features.pop_lru() else { break };
            self.bytes -= dropped.bytes();
        }
    }
}
