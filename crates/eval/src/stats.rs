//! Intervals and estimators.

use serde::{Deserialize, Serialize};

/// The 97.5 % point of the normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The 95 % interval of a share of `n` by Wilson's score method (Wilson 1927): unlike `p +- 1.96 s` it stays within 0
/// and 1 and is right near them. `right` may be fractional, where each question's share of right answers is summed.
///
/// With p = right / n: `(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`.
pub fn wilson(right: f64, n: usize) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let n = n as f64;
    let p = right / n;
    let zz = Z95 * Z95 / n;
    let middle = p + zz / 2.0;
    let spread = Z95 * (p * (1.0 - p) / n + zz / (4.0 * n)).max(0.0).sqrt();
    let end = |value: f64| (value / (1.0 + zz)).clamp(0.0, 1.0);
    Interval { low: end(middle - spread), high: end(middle + spread) }
}

/// The unbiased estimate of the chance that one of `k` answers is right, from `right` of `n` answers
/// (Chen et al. 2021, arXiv 2107.03374): `1 - C(n - right, k) / C(n, k)`. None when `k` exceeds `n` or is 0.
pub fn pass_at_k(n: usize, right: usize, k: usize) -> Option<f64> {
    if k == 0 || k > n || right > n {
        return None;
    }
    let wrong = n - right;
    if wrong < k {
        return Some(1.0);
    }
    let all_wrong: f64 = (n - k + 1..=n).map(|i| 1.0 - (right as f64 / i as f64).min(1.0)).product();
    // With i from n - k + 1 to n the factors are (i - right) / i, whose product is the quotient of binomials.
    Some(1.0 - all_wrong)
}

/// The two-sided exact test whether `a` successes against `b` come from a fair coin: the p value of McNemar's test.
pub(crate) fn sign_test(a: usize, b: usize) -> f64 {
    let n = a + b;
    if n == 0 {
        return 1.0;
    }
    // Terms C(n, i) / 2^n by their logarithms, so that large n neither overflow nor vanish.
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=a.min(b) {
        tail += term.exp();
        term += ((n - i) as f64 / (i + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wilson_by_reference() {
        // scipy 1.17: binomtest(right, n).proportion_ci(0.95, method="wilson").
        let cases = [
            (0.0, 10, 0.0, 0.277_532_799_863),
            (8.0, 10, 0.490_162_471_537, 0.943_317_848_546),
            (10.0, 10, 0.722_467_200_137, 1.0),
            (50.0, 100, 0.403_831_530_366, 0.596_168_469_634),
            (283.0, 1000, 0.255_952_440_988, 0.311_708_372_194),
        ];
        for (right, n, low, high) in cases {
            let got = wilson(right, n);
            assert!((got.low - low).abs() < 1e-11 && (got.high - high).abs() < 1e-11, "{right}/{n}: {got:?}");
        }
        assert_eq!(wilson(0.0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn pass_at_k_by_hand() {
        // 1 - C(3, 2) / C(5, 2) = 1 - 3 / 10.
        assert!((pass_at_k(5, 2, 2).unwrap() - 0.7).abs() < 1e-12);
        assert!((pass_at_k(4, 1, 1).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(pass_at_k(4, 0, 4), Some(0.0));
        assert_eq!(pass_at_k(4, 1, 4), Some(1.0));
        assert_eq!(pass_at_k(4, 1, 5), None);
        assert_eq!(pass_at_k(4, 1, 0), None);
    }

    #[test]
    fn sign_test_by_hand() {
        // 2 (1 + 7) / 2^7.
        assert!((sign_test(1, 6) - 0.125).abs() < 1e-12);
        assert_eq!(sign_test(0, 0), 1.0);
        assert_eq!(sign_test(5, 5), 1.0);
        // scipy 1.17: binomtest(400, 1000).pvalue.
        assert!((sign_test(400, 600) / 2.728_464_156_066e-10 - 1.0).abs() < 1e-9, "{}", sign_test(400, 600));
    }

    proptest! {
        #[test]
        fn intervals_hold_their_share(n in 1_usize..500, share in 0.0_f64..=1.0) {
            let right = (share * n as f64).round();
            let interval = wilson(right, n);
            let p = right / n as f64;
            prop_assert!(0.0 <= interval.low && interval.low <= p + 1e-12 && p <= interval.high + 1e-12);
            prop_assert!(interval.high <= 1.0);
        }

        #[test]
        fn pass_at_k_counts_subsets(n in 1_usize..10, right in 0_usize..10, k in 1_usize..10) {
            prop_assume!(right <= n && k <= n);
            // Every k-subset of the answers, of which the first `right` are right.
            let subsets: Vec<u32> = (0..1_u32 << n).filter(|set| set.count_ones() as usize == k).collect();
            let hits = subsets.iter().filter(|set| (*set & ((1 << right) - 1)) != 0).count();
            let expected = hits as f64 / subsets.len() as f64;
            prop_assert!((pass_at_k(n, right, k).unwrap() - expected).abs() < 1e-12);
        }
    }
}
