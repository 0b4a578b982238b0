//! Image features that are kept from pass to pass: between rollout, trainer and KL reference, and between the steps of a
//! frozen tower.
//!
//! Features are those of one image (its key tells the bytes and the settings of the processor) and of the weights that
//! made them: buffers in memory, and how often those have been written to, which libtorch counts. An update of the tower
//! or a loaded checkpoint therefore makes its features unreachable, and they are dropped.
//!
//! Only passes that record no gradient of the tower come here. They run the tower on one image at a time and by tensor
//! operations alone, so that kept features are equal to the last bit to those that would be made anew.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use lru::LruCache;
use tch::no_grad;

use super::{Memory, VisionFeatures, inference::without_kernels};
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

/// Weights that features were made with.
struct Tower {
    id: u64,
    /// Weak, so that a network that is gone does not stay in memory; its address is not used again meanwhile.
    memory: Vec<(Weak<Memory>, Vec<i64>)>,
}

impl Tower {
    /// Whether its weights are still what they were.
    fn is_current(&self) -> bool {
        let is_current = |(memory, versions): &(Weak<Memory>, Vec<i64>)| {
            memory.upgrade().is_some_and(|memory| memory.vision_versions() == *versions)
        };
        self.memory.iter().all(is_current)
    }

    fn is_of(&self, memory: &[Arc<Memory>]) -> bool {
        let own = self.memory.iter().map(|(memory, _)| memory.as_ptr());
        own.eq(memory.iter().map(Arc::as_ptr))
    }
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
        memory: &[Arc<Memory>],
        image: ImageKey,
        encode: impl FnOnce() -> VisionFeatures,
    ) -> VisionFeatures {
        let encode = || no_grad(|| without_kernels(encode));
        if self.budget == 0 {
            return encode();
        }
        let tower = self.lock(|kept| kept.tower(memory));
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
    /// The number of a tower as it is now; drops what belongs to weights that are no more.
    fn tower(&mut self, memory: &[Arc<Memory>]) -> u64 {
        let (current, outdated): (Vec<Tower>, Vec<Tower>) =
            self.towers.drain(..).partition(Tower::is_current);
        self.towers = current;
        if !outdated.is_empty() {
            let is_outdated = |id: u64| outdated.iter().any(|tower| tower.id == id);
            let keys: Vec<_> =
                self.features.iter().map(|(&key, _)| key).filter(|key| is_outdated(key.0)).collect();
            for key in keys {
                let dropped = self.features.pop(&key);
                self.bytes -= dropped.map_or(0, |features| features.bytes());
            }
        }
        if let Some(tower) = self.towers.iter().find(|tower| tower.is_of(memory)) {
            return tower.id;
        }
        self.n_towers += 1;
        let memory = memory.iter().map(|memory| (Arc::downgrade(memory), memory.vision_versions())).collect();
        self.towers.push(Tower { id: self.n_towers, memory });
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
