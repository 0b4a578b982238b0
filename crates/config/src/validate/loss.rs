//! Checks of a policy loss, its KL penalty and its reference.

use super::At;
use crate::{
    ClipCovConfig, EmaConfig, GrpoPhase, KlCovConfig, KlEstimator, KlPlace, KlSchedule, LossConfig,
    ReferenceConfig, SapoConfig, TopEntropyConfig,
};

pub(super) fn check(phase: &GrpoPhase, at: &mut At<'_>) {
    at.in_range(phase.kl_coef, 0.0.., "kl_coef", "0 or above");
    at.in_range(phase.entropy_coef, 0.0.., "entropy_coef", "0 or above");
    check_clip(phase, at);
    check_settings(phase.loss, at);
    check_kl(phase, at);
    if let ReferenceConfig::Ema(EmaConfig { mixup, every }) = phase.reference {
        at.in_range(mixup, f64::MIN_POSITIVE..=1.0, "reference.mixup", "above 0 and at most 1");
        at.at_least_one(every, "reference.every");
    }
}

fn check_settings(loss: LossConfig, at: &mut At<'_>) {
    let mut is_share = |share: f64| {
        at.in_range(share, f64::MIN_POSITIVE..=1.0, "loss.share", "above 0 and at most 1");
    };
    match loss {
        LossConfig::Sapo(SapoConfig { temperature_pos, temperature_neg }) => {
            at.in_range(temperature_pos, f64::MIN_POSITIVE.., "loss.temperature_pos", "above 0");
            at.in_range(temperature_neg, f64::MIN_POSITIVE.., "loss.temperature_neg", "above 0");
        }
        LossConfig::TopEntropy(TopEntropyConfig { share }) => is_share(share),
        LossConfig::ClipCov(ClipCovConfig { share, low, high }) => {
            is_share(share);
            at.require(low < high, "loss.high", || format!("must be above `low`, {low}"));
        }
        LossConfig::KlCov(KlCovConfig { share, coef }) => {
            is_share(share);
            at.in_range(coef, 0.0.., "loss.coef", "0 or above");
        }
        LossConfig::Grpo
        | LossConfig::DrGrpo
        | LossConfig::Dapo
        | LossConfig::Bnpo
        | LossConfig::Gspo
        | LossConfig::Cispo
        | LossConfig::Rloo
        | LossConfig::Reinforce
        | LossConfig::Gmpo => {}
    }
}

fn check_clip(phase: &GrpoPhase, at: &mut At<'_>) {
    let clips = phase.loss.clip_range().is_some();
    for (value, key) in [(phase.clip_low, "clip_low"), (phase.clip_high, "clip_high")] {
        at.require(clips || value.is_none(), key, || {
            format!("`loss.type = \"{}\"` does not clip; leave it out", name(phase.loss))
        });
    }
    at.in_range(phase.clip_low.unwrap_or(0.0), 0.0..=1.0, "clip_low", "from 0 to 1");
    at.in_range(phase.clip_high.unwrap_or(0.0), 0.0.., "clip_high", "0 or above");
    let Some(dual) = phase.dual_clip else { return };
    let surrogate = match phase.loss {
        LossConfig::Grpo
        | LossConfig::DrGrpo
        | LossConfig::Dapo
        | LossConfig::Bnpo
        | LossConfig::Gspo
        | LossConfig::Rloo
        | LossConfig::TopEntropy(_) => phase.clip_range(),
        LossConfig::Cispo
        | LossConfig::Sapo(_)
        | LossConfig::Reinforce
        | LossConfig::Gmpo
        | LossConfig::ClipCov(_)
        | LossConfig::KlCov(_) => None,
    };
    match surrogate {
        Some(clip) => {
            let least = 1.0 + clip.high;
            at.in_range(dual, least.., "dual_clip", &format!("{least} or above, 1 + the upper clip"));
        }
        None => at.require(false, "dual_clip", || {
            format!("`loss.type = \"{}\"` has no clipped ratio; leave it out", name(phase.loss))
        }),
    }
}

fn check_kl(phase: &GrpoPhase, at: &mut At<'_>) {
    let kl = phase.kl;
    let in_loss = kl.place == KlPlace::Loss;
    let gradient = kl.gradient.unwrap_or(kl.estimator);
    at.require(!in_loss || gradient != KlEstimator::K1, "kl", || {
        "`k1` in the loss holds nothing back: its expected gradient is 0; set `kl.gradient = \"k2\"`, or \
         `kl.place = \"reward\"`"
            .to_owned()
    });
    at.require(in_loss || kl.gradient.is_none(), "kl.gradient", || {
        "a penalty in the reward has no gradient; leave it out or set `kl.place = \"loss\"`".to_owned()
    });
    at.require(in_loss || !kl.by_difficulty, "kl.by_difficulty", || {
        "weighs a penalty in the loss; set `kl.place = \"loss\"`".to_owned()
    });
    if let KlSchedule::GrpoD { min, fall } = kl.schedule {
        at.in_range(min, 0.0..=phase.kl_coef, "kl.schedule.min", "from 0 to `kl_coef`");
        at.in_range(fall, f64::MIN_POSITIVE..0.999_999, "kl.schedule.fall", "above 0 and below 1");
    }
}

/// The loss as a recipe writes it.
fn name(loss: LossConfig) -> &'static str {
    match loss {
        LossConfig::Grpo => "grpo",
        LossConfig::DrGrpo => "dr_grpo",
        LossConfig::Dapo => "dapo",
        LossConfig::Bnpo => "bnpo",
        LossConfig::Gspo => "gspo",
        LossConfig::Cispo => "cispo",
        LossConfig::Sapo(_) => "sapo",
        LossConfig::Rloo => "rloo",
        LossConfig::Reinforce => "reinforce",
        LossConfig::Gmpo => "gmpo",
        LossConfig::TopEntropy(_) => "top_entropy",
        LossConfig::ClipCov(_) => "clip_cov",
        LossConfig::KlCov(_) => "kl_cov",
    }
}
