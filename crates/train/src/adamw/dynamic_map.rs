//! The 256 numbers of dynamic tree quantisation (Dettmers 2015, arXiv 1511.04561; as bitsandbytes lays them out).
//!
//! The magnitudes of decade `10^-k` are split linearly, into twice as many steps per decade upwards: small values keep
//! their size, large ones their precision.

/// Ascending, from -1 (signed) or 0 to 1.
pub(super) fn dynamic_map(signed: bool) -> Vec<f32> {
    let mut map = vec![0.0, 1.0];
    for decade in 0..7_i32 {
        let steps = if signed { 1 << decade } else { 2 << decade };
        for step in 0..steps {
            // The middle of a step between 0.1 and 1.
            let middle = 0.1 + 0.9 * (f64::from(step) + 0.5) / f64::from(steps);
            let value = (10.0_f64.powi(decade - 6) * middle) as f32;
            map.push(value);
            if signed {
                map.push(-value);
            }
        }
    }
    map.sort_by(f32::total_cmp);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_hand() {
        for signed in [true, false] {
            let map = dynamic_map(signed);
            assert_eq!(map.len(), 256);
            assert!(map.windows(2).all(|pair| pair[0] < pair[1]) && map[255] == 1.0);
        }
        // bitsandbytes: create_dynamic_map(True)[0] and [128], create_dynamic_map(False)[1].
        let (signed, positive) = (dynamic_map(true), dynamic_map(false));
        assert!((signed[0] + 0.992_968_75).abs() < 1e-7 && signed[127] == 0.0);
        assert!((signed[128] - 5.5e-7).abs() < 1e-12);
        assert!((positive[1] - 3.25e-7).abs() < 1e-12);
    }
}
