//! PPO's clipped surrogate.

use reft_config::ClipRange;
use tch::Tensor;

/// Bounds of the ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// `1 - low` to `1 + high`.
    pub range: ClipRange,
    /// Largest ratio that counts where the advantage is negative.
    pub dual: Option<f64>,
}

/// `min(r A, clip(r, 1 - low, 1 + high) A)` (PPO, Schulman et al. 2017, equation 7); clip-higher is `high > low` (DAPO,
/// arXiv 2503.14476, equation 10). To be maximised.
///
/// `value_c` is the ratio that is clipped, `ratio_c` what stands for it in the sum: the same for ratios of tokens, a
/// share of it for products over completions. With a dual clip `c`, a negative advantage counts at most `c A` (Ye et
/// al. 2020, arXiv 1912.09729, equation 5; TRL's `delta`).
pub fn clipped_surrogate(ratio_c: &Tensor, value_c: &Tensor, advantage_c: &Tensor, clip: Clip) -> Tensor {
    let value_c = value_c.detach();
    let share_c = ratio_c.detach() / &value_c;
    let bounded = |x: &Tensor| clip.dual.map_or_else(|| x.shallow_clone(), |c| x.clamp_max(c));
    let held_c = value_c.clamp(1.0 - clip.range.low, 1.0 + clip.range.high) * advantage_c;
    // Where the ratio itself is the smaller one, it keeps its gradient; elsewhere the term is a number.
    let free_c = bounded(&value_c) * advantage_c;
    let moves_c = free_c.le_tensor(&held_c).logical_and(&bounded(&value_c).eq_tensor(&value_c));
    let fixed_c = free_c.minimum(&held_c) * share_c;
    (ratio_c * advantage_c).where_self(&moves_c, &fixed_c)
}

/// Whether clipping stops a token's gradient: the ratio is outside the range on the side that the advantage drives to.
pub fn clipped(value_c: &Tensor, advantage_c: &Tensor, range: ClipRange) -> Tensor {
    let above = value_c.gt(1.0 + range.high).logical_and(&advantage_c.gt(0.0));
    let below = value_c.lt(1.0 - range.low).logical_and(&advantage_c.lt(0.0));
    above.logical_or(&below)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::{super::tests_common::*, *};

    fn surrogate(ratio: &Tensor, advantage: &[f64], low: f64, high: f64, dual: Option<f64>) -> Tensor {
        let clip = Clip { range: ClipRange { low, high }, dual };
        clipped_surrogate(ratio, ratio, &tensor(advantage), clip)
    }

    #[test]
    fn by_hand() {
        // Ratios 1.5, 1.5, 0.5, 0.5, 1 with advantages +, -, +, -, +.
        let (ratio, advantage) = ([1.5, 1.5, 0.5, 0.5, 1.0], [2.0, -2.0, 2.0, -2.0, 3.0]);
        let r = tensor(&ratio);
        close(&surrogate(&r, &advantage, 0.2, 0.2, None), &[2.4, -3.0, 1.0, -1.6, 3.0]);
        close(&gradient(&ratio, |r| surrogate(r, &advantage, 0.2, 0.2, None)), &[0.0, -2.0, 2.0, 0.0, 3.0]);
        close(&surrogate(&r, &advantage, 0.2, 0.6, None), &[3.0, -3.0, 1.0, -1.6, 3.0]);
        close(&surrogate(&r, &advantage, 0.2, 0.2, Some(1.4)), &[2.4, -2.8, 1.0, -1.6, 3.0]);
        let dual = gradient(&ratio, |r| surrogate(r, &advantage, 0.2, 0.2, Some(1.4)));
        close(&dual, &[0.0, 0.0, 2.0, 0.0, 3.0]);
        let is_clipped = clipped(&r, &tensor(&advantage), ClipRange { low: 0.2, high: 0.2 });
        close(&is_clipped.to_kind(Kind::Double), &[1.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn shares_of_a_product_are_clipped_by_the_product() {
        // A product of 1.5 in two shares of 0.75: too high for a positive advantage, not for a negative one.
        let clip = Clip { range: ClipRange { low: 0.2, high: 0.2 }, dual: None };
        let (share, product) = (tensor(&[0.75, 0.75]), tensor(&[1.5, 1.5]));
        close(&clipped_surrogate(&share, &product, &tensor(&[2.0, -2.0]), clip), &[1.2, -1.5]);
    }
}
