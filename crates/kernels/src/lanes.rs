//! Pieces of loops that the compiler turns into vector instructions.

/// Independent sums of a reduction: two vectors of eight.
pub(crate) const LANES: usize = 16;

/// `sum f(x)` in sixteen interleaved sums, added up at the end in a fixed order.
#[inline(always)]
pub(crate) fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f(value);
    }
    total(sums)
}

/// The largest of the values; -inf when there are none.
#[inline(always)]
pub(crate) fn max_of(x: &[f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (max, &value) in largest.iter_mut().zip(chunk) {
            *max = if value > *max { value } else { *max };
        }
    }
    for (max, &value) in largest.iter_mut().zip(rest) {
        *max = if value > *max { value } else { *max };
    }
    largest.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
pub(crate) fn total(mut sums: [f32; LANES]) -> f32 {
    let mut n = LANES / 2;
    while n > 0 {
        for i in 0..n {
            sums[i] += sums[i + n];
        }
        n /= 2;
    }
    sums[0]
}

/// `e^x` within two units in the last place, without branches: `2^n p(r)` with `x = n ln 2 + r` (Cody & Waite 1980), p the
/// polynomial of Cephes' `expf`. Below -87 it is 0, or nearly.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, whose bits are then the low ones.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    (p * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        for i in -8600..8700 {
            let x = i as f32 / 100.0;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got - want).abs() <= 3e-7 * want, "{x}: {got} {want}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn reductions_by_hand() {
        let x: Vec<f32> = (1..=37).map(|i| i as f32).collect();
        assert_eq!(sum_of(&x, |v| v), 703.0);
        assert_eq!(max_of(&x), 37.0);
        assert_eq!(max_of(&[]), f32::NEG_INFINITY);
    }
}
