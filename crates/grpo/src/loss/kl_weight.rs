//! The KL weight of a step.

use reft_config::KlSchedule;

/// The weight at step `step` (from 0) of `steps`, with `largest` the phase's `kl_coef`.
///
/// GRPO-D (OThink-MR1, arXiv 2503.16081, section 3.3): with `m = (min + max) / 2`, `w = fall * steps` and `s` the step,
/// `m - (m - min) s / w` up to `w`, then `min + (max - min) (s - w) / (steps - w)`.
pub fn kl_weight(schedule: KlSchedule, largest: f64, step: u64, steps: u64) -> f64 {
    match schedule {
        KlSchedule::Constant => largest,
        KlSchedule::GrpoD { min, fall } => {
            let (s, t) = (step as f64, steps as f64);
            let (middle, w) = (f64::midpoint(min, largest), fall * t);
            if s <= w {
                middle - (middle - min) * s / w
            } else {
                // Also where a resumed phase was made shorter.
                min + (largest - min) * ((s - w) / (t - w)).min(1.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(kl_weight(KlSchedule::Constant, 0.04, 3, 10), 0.04);
        let schedule = KlSchedule::GrpoD { min: 0.04, fall: 0.3 };
        for (step, expected) in [(0, 0.07), (10, 0.06), (30, 0.04), (65, 0.07), (100, 0.1), (120, 0.1)] {
            let got = kl_weight(schedule, 0.1, step, 100);
            assert!((got - expected).abs() < 1e-12, "{step}: {got}");
        }
    }
}
