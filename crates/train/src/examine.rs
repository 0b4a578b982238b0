//! Whether a policy can learn from its answers, before its first step: a gradient reaches everything that should learn,
//! and an image changes what is said about it.
//!
//! A tower that is wired to nothing, features put at the wrong tokens, or a frozen part that was meant to learn give runs
//! that look healthy for days.

use reft_core::{Demonstration, StageError};
use reft_vlm::{
    Vlm,
    model::{Distribution, Keep, ParamSpec, PartOfModel},
    processor::{EncodedPrompt, ImageKey, ImageSpan},
};
use serde::Serialize;
use tch::{Kind, Tensor};

use crate::{Entropy, TokenPass, demonstration::encode, token_logprobs};

/// Change of a log-probability below which an image has said nothing. The two passes that are compared differ in pixels
/// alone, so without a way from pixels to answer the change is 0.
const UNSEEN: f64 = 1e-6;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Examination {
    /// Answers looked at.
    pub answers: usize,
    /// Those whose question shows an image that is not blank itself.
    pub with_image: usize,
    /// The largest change of a token's log-probability, in nats, when a blank image is shown instead; none without images.
    pub image_effect: Option<f64>,
}

/// Why a phase would train for nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// Parameters that learn without a gradient.
    #[error(
        "no gradient reaches {n} parameters that should learn ({names}): the answers do not depend on them, so they \
         would stay as they are; check `trainable` and the checkpoint"
    )]
    Unreached {
        /// How many.
        n: usize,
        /// The first of them.
        names: String,
    },
    /// Images change nothing.
    #[error(
        "the policy does not see its images: with a blank image instead, no token of {answers} answers changes its \
         log-probability by more than {effect:.1e}; check the checkpoint's vision tower and the image tokens of its chat \
         template, or set `preflight.answers = 0` to start anyway"
    )]
    Blind {
        /// Answers looked at.
        answers: usize,
        /// The largest change, in nats.
        effect: f64,
    },
}

/// What a policy that samples its own answers must show: everything learns, and images are seen. Gradients are forgotten
/// before and after; weights stay.
pub fn examine(policy: &mut Vlm, answers: &[Demonstration], keep: Keep) -> Result<Examination, StageError> {
    let found = everything_learns(policy, answers, keep)?;
    match found.image_effect {
        Some(effect) if effect < UNSEEN => {
            Err(StageError::other("preflight", ExamineError::Blind { answers: found.with_image, effect }))
        }
        _ => Ok(found),
    }
}

/// What a policy that imitates must show: a gradient reaches everything that should learn. It may start blind; that is
/// what it may be taught.
///
/// Looks with some answers, one after another. Gradients are forgotten before and after; weights stay.
/// Parts of the tower are left alone where no answer has an image.
pub fn everything_learns(
    policy: &mut Vlm,
    answers: &[Demonstration],
    keep: Keep,
) -> Result<Examination, StageError> {
    let mut found = Examination { answers: answers.len(), ..Examination::default() };
    let (mut shows_images, mut is_finite) = (false, true);
    policy.learned().expect_gradients();
    for answer in answers {
        let (prompt, completion) = encode(policy, answer)?;
        shows_images |= !prompt.images.is_empty();
        let (log_probs, sum) = go_back(policy, &prompt, &completion, keep);
        is_finite &= sum.is_finite();
        if prompt.images.iter().any(|image| !is_blank(&image.pixels)) {
            found.with_image += 1;
            let blind = log_probs_of(policy, &blanked(&prompt), &completion);
            // Tokens that are not allowed have a log-probability of -inf with and without an image.
            let change = (log_probs - blind).nan_to_num(0.0, None, None).abs().max().double_value(&[]);
            found.image_effect = Some(found.image_effect.unwrap_or(0.0).max(change));
        }
    }
    let learns = |spec: &&ParamSpec| shows_images || spec.buffer().part == PartOfModel::Decoder;
    let names = policy.learned().unreached().into_iter().filter(learns).map(|spec| spec.name.clone());
    let names: Vec<String> = names.collect();
    policy.learned_mut().zero_grad();

    // A pass whose numbers are not finite goes nowhere; the first step says what is the matter.
    if names.is_empty() || answers.is_empty() || !is_finite {
        return Ok(found);
    }
    let shown = names.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = if names.len() > 3 { ", ..." } else { "" };
    let error = ExamineError::Unreached { n: names.len(), names: format!("{shown}{more}") };
    Err(StageError::other("preflight", error))
}

/// Accumulates the gradient of an answer's log-probability; returns it by token, `[c]`, and summed.
fn go_back(policy: &Vlm, prompt: &EncodedPrompt, completion: &[i64], keep: Keep) -> (Tensor, f64) {
    let packed = policy.pack(&[(prompt, vec![completion])]);
    let distribution = Distribution::whole(policy.allowed_tokens());
    let pass = TokenPass::new(policy.network(), &packed, distribution, keep);
    let logprob_c = pass.logprobs();
    // A token that is not allowed has a log-probability of -inf, which nothing can change.
    let sum = pass.backward(Entropy::Value, |stats, _| stats.logprob_c.clamp_min(-1e4).sum(Kind::Float));
    (logprob_c, sum)
}

fn log_probs_of(policy: &Vlm, prompt: &EncodedPrompt, completion: &[i64]) -> Tensor {
    let packed = policy.pack(&[(prompt, vec![completion])]);
    token_logprobs(policy.network(), &packed, Distribution::whole(policy.allowed_tokens()))
}

fn is_blank(pixels: &Tensor) -> bool {
    pixels.abs().max().double_value(&[]) == 0.0
}

/// The prompt with images of the same sizes in the one colour that normalisation takes to 0, a grey.
fn blanked(prompt: &EncodedPrompt) -> EncodedPrompt {
    let blank = |image: &ImageSpan| ImageSpan {
        key: ImageKey::of(
            format!("blank {}x{}", image.grid.columns, image.grid.rows).as_bytes(),
            "blank pixels",
        ),
        start: image.start,
        grid: image.grid,
        pixels: image.pixels.zeros_like(),
    };
    EncodedPrompt {
        token_ids: prompt.token_ids.clone(),
        images: prompt.images.iter().map(blank).collect(),
        think_opened: prompt.think_opened,
    }
}
