//! Splitting a batch by tokens, so that memory does not depend on the batch.

use std::ops::Range;

/// Ranges of consecutive items whose tokens add up to at most `budget`; an item above the budget stands alone.
/// A budget of 0 makes one range.
pub fn split_by_tokens(tokens: &[usize], budget: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (i, &n) in tokens.iter().enumerate() {
        if budget > 0 && i > start && sum + n > budget {
            ranges.push(start..i);
            (start, sum) = (i, 0);
        }
        sum += n;
    }
    if start < tokens.len() {
        ranges.push(start..tokens.len());
    }
    ranges
}

/// The ranges, split where `alike` says that an item differs from the one before it.
pub fn split_where(ranges: Vec<Range<usize>>, alike: impl Fn(usize, usize) -> bool) -> Vec<Range<usize>> {
    let split = |range: Range<usize>| {
        let items: Vec<usize> = range.collect();
        let runs = items.chunk_by(|&a, &b| alike(a, b)).map(|run| run[0]..run[0] + run.len());
        runs.collect::<Vec<_>>()
    };
    ranges.into_iter().flat_map(split).collect()
}

/// The numbers of `n` items by their part, parts in the order in which they come up.
pub fn in_parts<K: PartialEq>(n: usize, part: impl Fn(usize) -> K) -> Vec<Vec<usize>> {
    let mut parts: Vec<(K, Vec<usize>)> = Vec::new();
    for i in 0..n {
        let key = part(i);
        match parts.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(i),
            None => parts.push((key, vec![i])),
        }
    }
    parts.into_iter().map(|(_, members)| members).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_by_hand() {
        let of = ["a", "a", "b", "a", "b"];
        assert_eq!(split_where(vec![0..3, 3..5], |i, j| of[i] == of[j]), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(in_parts(5, |i| of[i]), [vec![0, 1, 3], vec![2, 4]]);
    }

    #[test]
    fn ranges_by_hand() {
        assert_eq!(split_by_tokens(&[3, 3, 3], 0), vec![Range { start: 0, end: 3 }]);
        assert_eq!(split_by_tokens(&[3, 3, 3], 6), [0..2, 2..3]);
        assert_eq!(split_by_tokens(&[9, 1, 1], 6), [0..1, 1..3]);
        assert!(split_by_tokens(&[], 6).is_empty());
    }
}
