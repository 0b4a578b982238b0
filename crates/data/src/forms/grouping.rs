//! Partitions answers into small groups of mutually different ones.
//!
//! A group is what makes a converted question blind-proof: its members will all be shown the same answers, and each
//! answer is right for exactly one member. So whoever sees the answers but not the image has no reason to prefer one.

use std::cmp::Reverse;

use rand::{Rng, seq::SliceRandom as _};

use super::answer::Answer;

/// How far along the order a partner is looked for.
const REACH: usize = 1024;

/// Groups of item positions, and the items that found no partner.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) groups: Vec<Vec<usize>>,
    pub(super) alone: Vec<usize>,
}

/// Groups of up to `size` answers that differ pairwise, alike where possible.
///
/// Equal answers form a bucket. Every group takes one item of the fullest bucket, and the rest from buckets near it.
/// Groups are smaller than `size` in two cases, both because a fuller group would give its answers away.
/// When fewer different answers are left: one from elsewhere, never right here, would be known as wrong.
/// When the fullest bucket would not be used up by full groups: what is left of it could only be shown beside answers
/// that are right less often. More than half of equal answers cannot be used up at all, and the surplus stays alone.
pub(super) fn by_value(items: &[usize], answers: &[Answer], size: usize, rng: &mut impl Rng) -> Groups {
    let mut order = items.to_vec();
    order.shuffle(rng);
    order.sort_by(|&a, &b| answers[a].order(&answers[b]));
    let mut buckets: Vec<Vec<usize>> = Vec::new();
    for item in order {
        match buckets.last_mut() {
            Some(bucket) if !answers[bucket[0]].differs(&answers[item]) => bucket.push(item),
            _ => buckets.push(vec![item]),
        }
    }

    let mut result = Groups::default();
    let fullest = buckets.iter().map(Vec::len).max().unwrap_or(0);
    let mut slice: Vec<Vec<usize>> = Vec::new();
    let mut buckets = buckets.into_iter().peekable();
    while let Some(bucket) = buckets.next() {
        slice.push(bucket);
        // Work grows with the square of a slice; a slice much wider than any bucket loses nothing against the whole.
        let width: usize = slice.iter().map(Vec::len).sum();
        if buckets.peek().is_none() || (width >= 1024 && width >= 64 * fullest) {
            exhaust(std::mem::take(&mut slice), size, &mut result, rng);
        }
    }
    result
}

fn exhaust(mut buckets: Vec<Vec<usize>>, size: usize, result: &mut Groups, rng: &mut impl Rng) {
    let mut left: usize = buckets.iter().map(Vec::len).sum();
    while buckets.len() > 1 {
        let fullest =
            (0..buckets.len()).max_by_key(|&b| (buckets[b].len(), rng.random::<u32>())).unwrap_or(0);
        let company = (left / buckets[fullest].len()).clamp(2, size) - 1;
        // Twice as many near buckets as needed, then a draw: near, yet not always the same company.
        let window = fullest.saturating_sub(size - 1)..(fullest + size).min(buckets.len());
        let mut near: Vec<usize> = window.filter(|&b| b != fullest).collect();
        near.shuffle(rng);
        near.sort_by_key(|&b| Reverse(buckets[b].len() * 2 >= buckets[fullest].len()));
        near.truncate(company);
        let group: Vec<usize> = near.into_iter().chain([fullest]).filter_map(|b| buckets[b].pop()).collect();
        left -= group.len();
        result.groups.push(group);
        buckets.retain(|bucket| !bucket.is_empty());
    }
    result.alone.extend(buckets.into_iter().flatten());
}

/// Groups of up to `size` items that suit each other pairwise, alike where possible. For answers without buckets, as
/// boxes are: A may suit B and C while B and C do not suit each other.
pub(super) fn by_fit(
    items: &[usize],
    answers: &[Answer],
    size: usize,
    fits: &dyn Fn(&Answer, &Answer) -> bool,
    rng: &mut impl Rng,
) -> Groups {
    let mut order = items.to_vec();
    order.shuffle(rng);
    order.sort_by(|&a, &b| answers[a].order(&answers[b]));
    let mut taken = vec![false; order.len()];
    let mut result = Groups::default();

    let mut starts: Vec<usize> = (0..order.len()).collect();
    starts.shuffle(rng);
    for start in starts {
        if taken[start] {
            continue;
        }
        let mut group = vec![order[start]];
        let mut members = vec![start];
        for distance in 1..=REACH.min(order.len()) {
            for candidate in [start.checked_sub(distance), Some(start + distance)] {
                let Some(candidate) = candidate.filter(|&c| c < order.len() && !taken[c]) else {
                    continue;
                };
                let item = order[candidate];
                if group.len() < size && group.iter().all(|&g| fits(&answers[g], &answers[item])) {
                    group.push(item);
                    members.push(candidate);
                }
            }
            if group.len() == size {
                break;
            }
        }
        if group.len() == 1 {
            taken[start] = true;
            result.alone.push(order[start]);
        } else {
            for member in members {
                taken[member] = true;
            }
            result.groups.push(group);
        }
    }
    result
}
