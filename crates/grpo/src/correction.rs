//! Importance weights for answers that the policy of the trainer did not draw: of an engine that rounds otherwise, or of
//! weights that are some updates old.
//!
//! Truncated importance sampling: Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL
//! training". Masked ratios: IcePop, arXiv 2510.18855. Modes and bounds are TRL's `vllm_importance_sampling_mode`.

use reft_config::CorrectionConfig;
use tch::{Kind, Tensor};

use crate::{Tokens, loss::bounded_exp};

/// `[c]` weights for the policy loss, without gradient, and which of them a bound has changed.
#[derive(Debug)]
pub struct Importance {
    /// The weights.
    pub weight_c: Tensor,
    /// Whether the ratio was out of bounds.
    pub bounded_c: Tensor,
}

/// Weights for tokens whose log-probs under trainer and rollout are known. Modes over completions want all tokens of each
/// completion at once; `log_ratio_c` is theirs, `log p_trainer - log p_rollout`.
pub fn importance(config: &CorrectionConfig, tokens: &Tokens, log_ratio_c: &Tensor) -> Importance {
    let log_ratio_c = log_ratio_c.detach();
    let by_sequence = config.mode.is_by_sequence();
    let log_ratio_c = if by_sequence { tokens.sum_by_completion(&log_ratio_c) } else { log_ratio_c };
    let ratio_c = bounded_exp(&log_ratio_c);
    let bounded_c = ratio_c.lt(config.clip_min).logical_or(&ratio_c.gt(config.clip_max));
    let weight_c = if config.mode.masks() {
        &ratio_c * bounded_c.logical_not().to_kind(Kind::Float)
    } else {
        ratio_c.clamp(config.clip_min, config.clip_max)
    };
    Importance { weight_c, bounded_c }
}

#[cfg(test)]
mod tests {
    use reft_config::CorrectionMode;

    use super::*;
    use crate::loss::tests_common::{close, tensor, tokens};

    /// By hand, as `GRPOTrainer` of TRL 1.16 computes `vllm_importance_sampling_ratio`: two completions, of ratios 4 and 1/2
    /// (product 2), and 1/4.
    #[test]
    fn weights_by_hand() {
        let logs = [4.0_f64.ln(), 0.5_f64.ln(), 0.25_f64.ln()];
        let tokens = tokens(&tensor(&[0.0; 3]), &[0.0; 3], &[1.0; 3], &[2, 1]);
        for (mode, weights, bounded) in [
            (CorrectionMode::TokenTruncate, [3.0, 0.5, 0.4], [1.0, 0.0, 1.0]),
            (CorrectionMode::TokenMask, [0.0, 0.5, 0.0], [1.0, 0.0, 1.0]),
            (CorrectionMode::SequenceTruncate, [2.0, 2.0, 0.4], [0.0, 0.0, 1.0]),
            (CorrectionMode::SequenceMask, [2.0, 2.0, 0.0], [0.0, 0.0, 1.0]),
        ] {
            let config =
                CorrectionConfig { mode, clip_max: 3.0, clip_min: 0.4, ..CorrectionConfig::default() };
            let found = importance(&config, &tokens, &tensor(&logs));
            close(&found.weight_c, &weights);
            close(&found.bounded_c, &bounded);
        }
    }
}
