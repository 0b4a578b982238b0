//! Loss and gradient of one micro-batch.

use reft_config::GrpoPhase;
use reft_train::Entropy;
use reft_vlm::{
    Vlm,
    model::{Keep, Network},
};
use tch::Tensor;

use crate::{Objective, Terms, Tokens, batch::MicroBatch, pass::Pass, sums::Sums};

/// Adds the gradient of one micro-batch to the parameters', and its numbers to the sums. `network` is the policy's, or
/// one that leaves some inputs out.
pub(crate) fn backward(
    phase: &GrpoPhase,
    policy: &Vlm,
    network: &Network,
    batch: &mut MicroBatch,
    kl_weight: f64,
    sums: &mut Sums,
) {
    let objective = Objective::new(phase);
    let keep = if phase.recompute { Keep::LayerInputs } else { Keep::Graph };
    let entropy = if phase.entropy_coef > 0.0 { Entropy::WithGradient } else { Entropy::Value };
    let distribution = batch.distribution(policy, phase);
    let pass = Pass::new(network, &batch.packed, batch.steps.as_ref(), distribution, keep, entropy);
    // At the first update every ratio is 1 by construction; its gradient is the policy gradient.
    let summed_c = match &batch.old_c {
        Some(old_c) if objective.policy.is_of_completions() => batch.summed(&(pass.logprobs() - old_c)),
        _ => batch.length_c.zeros_like(),
    };
    let kl_weight_c = &batch.kl_scale_c * kl_weight;

    let mut first_logprobs = Vec::new();
    sums.loss += pass.backward(entropy, |stats, range| {
        let part = |x: &Tensor| x.narrow(0, range.start, range.end - range.start);
        let logprob_c = &stats.logprob_c;
        let tokens = Tokens {
            logprob_c,
            old_c: &batch.old_c.as_ref().map_or_else(|| logprob_c.detach(), part),
            advantage_c: &part(&batch.advantage_c),
            summed_c: &part(&summed_c),
            length_c: &part(&batch.length_c),
        };
        let reference_c = batch.reference_c.as_ref().map(part);
        let terms = Terms {
            weight_c: &part(&batch.weight_c),
            reference_c: reference_c.as_ref(),
            kl_weight_c: &part(&kl_weight_c),
            entropy_c: &stats.entropy_c,
            share: batch.share,
        };
        let (loss, kl_c) = objective.sum(&tokens, &terms);
        sums.add(objective.policy, &tokens, terms.entropy_c, kl_c.as_ref());
        if batch.old_c.is_none() {
            sums.compare(logprob_c, &part(&batch.rollout_c));
            first_logprobs.push(logprob_c.detach());
        }
        loss
    });
    if batch.old_c.is_none() {
        batch.old_c = Some(Tensor::cat(&first_logprobs, 0));
    }
}
