//! Random bits from a counter, so that no generator runs through all of them one by one.

use reft_core::Seed;
use tch::{Device, Kind, Tensor};

/// `[n]` 16 random bits each, int64, for the numbers `first..first + n`: two rounds of a 32-bit integer hash of number and
/// key, on the device. The same seed and number give the same bits on every device.
pub fn random_bits(first: i64, n: i64, seed: Seed, device: Device) -> Tensor {
    const MASK: i64 = 0xffff_ffff;
    let key = seed.key();
    let (low, high) = ((key & 0xffff_ffff) as i64, (key >> 32) as i64);
    let mut x =
        Tensor::arange_start(first, first + n, (Kind::Int64, device)).g_add_scalar(low).bitwise_and(MASK);
    // Multipliers below 2^31, so that no product overflows.
    for (salt, multiplier) in [(high, 0x7feb_352d_i64), (low, 0x3184_8bab)] {
        x = x.bitwise_xor(salt);
        x = x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(16));
        x = (x * multiplier).bitwise_and(MASK);
        x = x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(15));
    }
    x.bitwise_right_shift_tensor_scalar(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_flat() {
        let bits = Vec::<i64>::try_from(random_bits(3, 1 << 16, Seed::new(2), Device::Cpu)).unwrap();
        let mut bins = [0_u32; 16];
        for x in bits {
            assert!((0..65536).contains(&x));
            bins[(x / 4096) as usize] += 1;
        }
        // 4,096 expected per bin, standard deviation 62: five of them.
        assert!(bins.iter().all(|&n| n.abs_diff(4096) < 310), "{bins:?}");
    }
}
