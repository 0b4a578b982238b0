//! Derived randomness: the random number of a *place*, not the next one of a stream.
//!
//! A [`Seed`] is a 64-bit key. `seed.at("binary").at(step)` is the key of a place; the same place always gives the same
//! numbers, whatever was drawn elsewhere before. So batch order, thread count and a resume change nothing.
//! Mixing is the finalizer of SplitMix64 (Steele, Lea, Flood 2014), applied to the running key xor the label.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A key for random numbers.
///
/// ```
/// use reft_core::Seed;
/// let run = Seed::new(7);
/// assert_eq!(run.at("binary").at(3_u64).uniform(), run.at("binary").at(3_u64).uniform());
/// assert_ne!(run.at("binary").at(3_u64).uniform(), run.at("choice").at(3_u64).uniform());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(u64);

/// What a place can be named by: a counter or a text.
pub trait Label {
    /// A 64-bit digest of the label.
    fn digest(&self) -> u64;
}

impl Label for u64 {
    fn digest(&self) -> u64 {
        *self
    }
}

impl Label for usize {
    fn digest(&self) -> u64 {
        *self as u64
    }
}

impl Label for &str {
    /// FNV-1a, 64 bit.
    fn digest(&self) -> u64 {
        self.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl Label for &crate::SampleId {
    fn digest(&self) -> u64 {
        self.as_str().digest()
    }
}

impl Seed {
    /// The key of a run.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The key of a place inside this one.
    #[must_use]
    pub fn at(self, label: impl Label) -> Self {
        Self(mix(self.0.rotate_left(23) ^ mix(label.digest())))
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn uniform(self) -> f64 {
        (mix(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A generator for a place that needs many numbers (a shuffle, a scene).
    pub fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }

    /// The key itself, for generators of other libraries.
    pub fn key(self) -> u64 {
        self.0
    }
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_is_flat_over_neighbouring_places() {
        let mut bins = [0_u32; 10];
        for step in 0..100_u64 {
            for token in 0..100_u64 {
                bins[(Seed::new(1).at(step).at(token).uniform() * 10.0) as usize] += 1;
            }
        }
        // 1,000 expected per bin, standard deviation 30: five of them.
        assert!(bins.iter().all(|&n| n.abs_diff(1000) < 150), "{bins:?}");
    }

    #[test]
    fn order_of_labels_matters() {
        let seed = Seed::new(0);
        assert_ne!(seed.at(1_u64).at(2_u64), seed.at(2_u64).at(1_u64));
        assert_ne!(seed.at("a").at("b"), seed.at("ab").at(""));
    }
}
