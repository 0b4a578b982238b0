//! Which samples may lend each other their answers.

use std::collections::BTreeMap;

use reft_core::Sample;

use super::grouping::Groups;

/// Groups a task's samples pool by pool.
///
/// Samples that ask the very same words pool together, so that an answer that suits one question suits the others too
/// ("How many ..." never borrows a sum). Questions that few samples ask share one pool.
/// Whoever found no partner in a pool gets a second chance among all that found none.
///
/// `size` is how many samples a group will hold; a pool of its own needs eight times as many.
pub(super) fn grouped(samples: &[&Sample], size: usize, mut group: impl FnMut(&[usize]) -> Groups) -> Groups {
    let mut by_words: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, sample) in samples.iter().enumerate() {
        by_words.entry(sample.problem.trim()).or_default().push(i);
    }
    let (pools, few): (Vec<_>, Vec<_>) = by_words.into_values().partition(|pool| pool.len() >= 8 * size);
    let mut rest: Vec<usize> = few.into_iter().flatten().collect();
    rest.sort_unstable();

    let mut result = Groups::default();
    for pool in pools.iter().chain([&rest]) {
        let found = group(pool);
        result.groups.extend(found.groups);
        result.alone.extend(found.alone);
    }
    let again = group(&std::mem::take(&mut result.alone));
    result.groups.extend(again.groups);
    result.alone = again.alone;
    result
}
