//! The policy loss that a phase asks for.

use reft_config::{ClipRange, GrpoPhase, LossConfig};

use super::{
    Cispo, Clip, ClipCov, Clipped, Gmpo, Gspo, KlCov, PolicyLoss, Reinforce, Rloo, Sapo, TopEntropy,
};

/// As the phase says.
pub fn policy_loss(phase: &GrpoPhase) -> Box<dyn PolicyLoss> {
    // Losses that do not clip never look at the range.
    let range = phase.clip_range().unwrap_or(ClipRange { low: 1.0, high: f64::INFINITY });
    let clip = Clip { range, dual: phase.dual_clip };
    match phase.loss {
        LossConfig::Grpo | LossConfig::DrGrpo | LossConfig::Dapo | LossConfig::Bnpo => {
            Box::new(Clipped { clip })
        }
        LossConfig::Gspo => Box::new(Gspo { clip }),
        LossConfig::Rloo => Box::new(Rloo { clip }),
        LossConfig::Cispo => Box::new(Cispo { range }),
        LossConfig::Sapo(config) => Box::new(Sapo { config }),
        LossConfig::Reinforce => Box::new(Reinforce),
        LossConfig::Gmpo => Box::new(Gmpo { range }),
        LossConfig::TopEntropy(config) => {
            Box::new(TopEntropy { share: config.share, inner: Box::new(Clipped { clip }) })
        }
        LossConfig::ClipCov(config) => Box::new(ClipCov { config, range }),
        LossConfig::KlCov(config) => Box::new(KlCov { config }),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests_common::*, *};

    fn phase(value: &str) -> GrpoPhase {
        let text = format!(r#"{{"name": "p", "data": "d", "steps": 1, {value}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    /// At ratio 1 every loss of the first update has the gradient of `-A log p` on the tokens that it lets learn.
    #[test]
    fn on_policy_all_losses_are_the_policy_gradient() {
        let (logprob, advantage) = ([-1.0, -2.0, -0.5], [0.5, -1.5, -1.5]);
        let all = [
            "grpo",
            "dr_grpo",
            "dapo",
            "bnpo",
            "gspo",
            "cispo",
            "sapo",
            "rloo",
            "reinforce",
            "gmpo",
            "clip_cov",
            "kl_cov",
            "top_entropy",
        ];
        for name in all {
            let share = if name == "top_entropy" { r#", "share": 1.0"# } else { "" };
            let loss = policy_loss(&phase(&format!(r#""loss": {{"type": "{name}"{share}}}"#)));
            let slope = gradient(&logprob, |x| {
                let tokens = tokens(x, &logprob, &advantage, &[1, 2]);
                loss.loss(&prepared(&*loss, tokens)).loss_c
            });
            close(&slope, &[-0.5, 1.5, 1.5]);
        }
    }
}
