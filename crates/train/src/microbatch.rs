//! Splitting a batch by tokens, so that memory does not depend on the batch.

/// Ranges of consecutive items whose tokens add up to at most `budget`; an item above the budget stands alone.
/// A budget of 0 makes one range.
pub fn split_by_tokens(tokens: &[usize], budget: usize) -> Vec<std::ops::Range<usize>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_hand() {
        assert_eq!(split_by_tokens(&[3, 3, 3], 0), vec![std::ops::Range { start: 0, end: 3 }]);
        assert_eq!(split_by_tokens(&[3, 3, 3], 6), [0..2, 2..3]);
        assert_eq!(split_by_tokens(&[9, 1, 1], 6), [0..1, 1..3]);
        assert!(split_by_tokens(&[], 6).is_empty());
    }
}
