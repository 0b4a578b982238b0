//! The policy loss of a `grpo` phase, its KL penalty, and the policy that the penalty is measured against.
//! Formulas and sources are in `docs/LOSSES.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The policy loss. Each type brings the clip range and the averaging of its paper; `clip_low`, `clip_high` and
/// `loss_scale` of the phase replace them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossConfig {
    /// PPO's clipped ratio per token, mean over a completion's tokens, then over completions (arXiv 2402.03300).
    #[default]
    Grpo,
    /// The ratio and clip of `grpo`, sum over tokens divided by a constant (Dr.GRPO, arXiv 2503.20783); set `advantage.type` to `dr_grpo` too.
    DrGrpo,
    /// The ratio of `grpo`, mean over all tokens of the batch and a wider upper clip (DAPO, arXiv 2503.14476).
    Dapo,
    /// The ratio and clip of `grpo`, mean over all tokens of the batch (TRL's BNPO).
    Bnpo,
    /// One ratio per completion: the geometric mean of its tokens' ratios (GSPO, arXiv 2507.18071).
    Gspo,
    /// The ratio is a bounded weight without gradient, so no token is dropped (CISPO, arXiv 2506.13585).
    Cispo,
    /// A soft gate instead of the clip (SAPO, arXiv 2511.20347).
    Sapo(SapoConfig),
    /// One ratio per completion: the product of its tokens' ratios (RLOO, arXiv 2402.14740); set `advantage.type` to
    /// `rloo` too.
    Rloo,
    /// `-A log p` without a ratio (Williams 1992).
    Reinforce,
    /// The geometric mean of a completion's clipped token ratios; the clip is one of log-ratios (GMPO, arXiv 2507.20673).
    Gmpo,
    /// DAPO's loss on the tokens with the highest entropy alone (arXiv 2506.01939).
    TopEntropy(TopEntropyConfig),
    /// Tokens whose log-prob and advantage vary together most lose their gradient, a few drawn from a band (Clip-Cov,
    /// arXiv 2505.22617).
    ClipCov(ClipCovConfig),
    /// Tokens whose log-prob and advantage vary together most are held to where they were (KL-Cov, arXiv 2505.22617).
    KlCov(KlCovConfig),
}

/// Which tokens learn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopEntropyConfig {
    /// Share of the batch's tokens, those with the highest entropy. Paper: 0.2.
    pub share: f64,
}

impl Default for TopEntropyConfig {
    fn default() -> Self {
        Self { share: 0.2 }
    }
}

/// Which tokens Clip-Cov stops.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClipCovConfig {
    /// Share of the batch's tokens, at least one, drawn from the band. Paper: 2e-4.
    pub share: f64,
    /// Lower end of the band of covariances. Paper: 1.
    pub low: f64,
    /// Upper end of the band. Paper: 5.
    pub high: f64,
}

impl Default for ClipCovConfig {
    fn default() -> Self {
        Self { share: 2e-4, low: 1.0, high: 5.0 }
    }
}

/// Which tokens KL-Cov holds, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KlCovConfig {
    /// Share of the batch's tokens, at least one, those with the highest covariance. Paper: 2e-3 for 7B, 2e-4 for 32B.
    pub share: f64,
    /// Weight of `|log p - log p_old|` on them. Paper: 1.
    pub coef: f64,
}

impl Default for KlCovConfig {
    fn default() -> Self {
        Self { share: 2e-3, coef: 1.0 }
    }
}

/// The slopes of SAPO's gate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SapoConfig {
    /// For tokens with a positive advantage. Paper: 1.
    pub temperature_pos: f64,
    /// For the others; larger dampens them faster. Paper: 1.05.
    pub temperature_neg: f64,
}

impl Default for SapoConfig {
    fn default() -> Self {
        Self { temperature_pos: 1.0, temperature_neg: 1.05 }
    }
}

/// How token losses are averaged over a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossScale {
    /// Mean over a completion's tokens, then over completions (GRPO; Curr-ReFT's).
    #[default]
    Sequence,
    /// Mean over all tokens of the batch (DAPO).
    Token,
    /// Sum over tokens divided by `completions * max_new_tokens` (Dr.GRPO).
    Constant,
    /// Sum over a completion's tokens, mean over completions (RLOO).
    Sum,
}

/// The KL penalty towards the reference. Its weight is `kl_coef` of the phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KlConfig {
    /// What stands for the divergence of a token.
    pub estimator: KlEstimator,
    /// Estimator whose gradient is taken, where it is not that of `estimator`; for a penalty in the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "KlEstimator")]
    pub gradient: Option<KlEstimator>,
    /// Where the penalty acts.
    pub place: KlPlace,
    /// Course of the weight over the phase.
    pub schedule: KlSchedule,
    /// Whether the weight follows how hard the question is (DADS of APO, arXiv 2506.21655); for a penalty in the loss.
    pub by_difficulty: bool,
}

/// An estimator of `KL(p || p_ref)` from one sampled token (Schulman 2020), with `d = log p_ref - log p`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KlEstimator {
    /// `-d`: unbiased, noisy, may be negative.
    K1,
    /// `d^2 / 2`: biased, and its gradient is that of the divergence itself.
    K2,
    /// `exp(d) - d - 1`: unbiased, never negative (GRPO; Curr-ReFT's).
    #[default]
    K3,
}

/// Where a KL penalty acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlPlace {
    /// A term of the loss, per token (GRPO).
    #[default]
    Loss,
    /// Subtracted from a completion's reward before advantages are taken, summed over its tokens (RLOO).
    Reward,
    /// Subtracted from each token's advantage, summed over it and the tokens behind it (REINFORCE++).
    TokenReward,
}

/// Course of the KL weight over a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum KlSchedule {
    /// Stays at `kl_coef`.
    #[default]
    Constant,
    /// Falls from halfway between `min` and `kl_coef` to `min`, then rises to `kl_coef` (GRPO-D of OThink-MR1, arXiv
    /// 2503.16081).
    GrpoD {
        /// Smallest weight. OThink-MR1: 0.04 with a `kl_coef` of 0.1 (counting), 0 with 0.02 (geometry).
        min: f64,
        /// Share of the phase's steps over which it falls, above 0 and below 1.
        #[serde(default = "KlSchedule::default_fall")]
        fall: f64,
    },
}

impl KlSchedule {
    fn default_fall() -> f64 {
        0.3
    }
}

/// The policy that the KL penalty is measured against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReferenceConfig {
    /// The policy as it is when the phase starts (Curr-ReFT's).
    #[default]
    Phase,
    /// The model that the run started from, in every phase.
    Run,
    /// The policy as it is when the phase starts, drawn towards the policy again and again (TR-DPO, arXiv 2404.09656).
    Ema(EmaConfig),
    /// None, and so no KL penalty.
    None,
}

/// How the reference follows the policy: `reference = (1 - mixup) reference + mixup policy`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmaConfig {
    /// Share of the policy, above 0 and at most 1. TR-DPO: 0.6 every 512 steps; 1 copies it.
    pub mixup: f64,
    /// Steps between two moves.
    pub every: u64,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self { mixup: 0.6, every: 512 }
    }
}

/// A clip range: ratios are held between `1 - low` and `1 + high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipRange {
    /// Below 1.
    pub low: f64,
    /// Above 1.
    pub high: f64,
}

impl LossConfig {
    /// The clip range of the loss's paper; none where it does not clip.
    pub fn clip_range(self) -> Option<ClipRange> {
        match self {
            Self::Grpo | Self::DrGrpo | Self::Bnpo | Self::Rloo => Some(ClipRange { low: 0.2, high: 0.2 }),
            Self::Dapo | Self::TopEntropy(_) => Some(ClipRange { low: 0.2, high: 0.28 }),
            // The paper's section 5.1.
            Self::Gspo => Some(ClipRange { low: 3e-4, high: 4e-4 }),
            // No lower bound; the upper one as ScaleRL (arXiv 2510.13786) and TRL recommend.
            Self::Cispo => Some(ClipRange { low: 1.0, high: 4.0 }),
            // Of log-ratios, the paper's section 4.
            Self::Gmpo => Some(ClipRange { low: 0.4, high: 0.4 }),
            // As wide as the authors' script has it: the band does the clipping.
            Self::ClipCov(_) => Some(ClipRange { low: 1.0, high: 1.0 }),
            Self::Sapo(_) | Self::Reinforce | Self::KlCov(_) => None,
        }
    }

    /// The averaging of the loss's paper.
    pub fn scale(self) -> LossScale {
        match self {
            Self::Grpo | Self::Gspo | Self::Gmpo | Self::Sapo(_) => LossScale::Sequence,
            Self::Dapo
            | Self::Bnpo
            | Self::Cispo
            | Self::TopEntropy(_)
            | Self::ClipCov(_)
            | Self::KlCov(_) => LossScale::Token,
            Self::DrGrpo => LossScale::Constant,
            Self::Rloo | Self::Reinforce => LossScale::Sum,
        }
    }
}
