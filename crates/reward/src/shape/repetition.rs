//! Repetition penalty by phrases (Yeo et al. 2025, arXiv 2502.03373, appendix C).

use std::{collections::HashSet, hash::Hash};

use reft_core::{Completion, Reward, Sample, StageError};

/// Pays minus the share of phrases that were there before: `unique / all - 1` over all runs of `words` words, -1 to 0.
///
/// Words are separated by white space, in any case.
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    /// Words that make a phrase; at least 1.
    pub words: usize,
}

impl Reward for Repetition {
    fn name(&self) -> &'static str {
        "repetition"
    }

    fn score(&self, _sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let lower = completion.text.to_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        Ok(-repeated_share(words.windows(self.words.max(1))) as f32)
    }
}

/// `1 - unique / all`; nothing to repeat is no repetition.
fn repeated_share<T: Hash + Eq>(items: impl Iterator<Item = T>) -> f64 {
    let mut all = 0_usize;
    let unique: HashSet<T> = items.inspect(|_| all += 1).collect();
    if all == 0 { 0.0 } else { 1.0 - unique.len() as f64 / all as f64 }
}
