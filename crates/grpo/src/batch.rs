//! What an update needs of a batch of rollouts: groups packed for forward passes, and numbers for each of their tokens.
//!
//! Axes in tensor names: c completion token.

use std::ops::Range;

use reft_config::{GrpoPhase, KlPlace};
use reft_core::{Completion, ScoredGroup, StageError, Support};
use reft_train::split_by_tokens;
use reft_vlm::{
    Vlm,
    model::{Distribution, Network, PackedBatch},
    processor::EncodedPrompt,
};
use tch::{Device, Kind, Tensor};

use crate::{
    diagnose::TokenNumbers,
    difficulty_weight, kl,
    pass::{Steps, logprobs},
    token_weights,
};

/// One forward and backward pass: a few groups and what the loss needs of them, `[c]` each.
pub(crate) struct MicroBatch {
    pub(crate) packed: PackedBatch,
    /// The steps of its one group, with `exact = true`.
    pub(crate) steps: Option<Steps>,
    /// What the rollout drew each token from; none where nothing was out of reach.
    support: Option<Support>,
    /// Weight of the token in the mean over the batch.
    pub(crate) weight_c: Tensor,
    /// 1 over the completion tokens of the batch: the weight in a plain mean over tokens.
    pub(crate) share: f64,
    pub(crate) advantage_c: Tensor,
    /// What difficulty makes of the KL weight.
    pub(crate) kl_scale_c: Tensor,
    /// Log-probs as the rollout had them.
    pub(crate) rollout_c: Tensor,
    pub(crate) reference_c: Option<Tensor>,
    /// Log-probs at the first update of this batch of rollouts.
    pub(crate) old_c: Option<Tensor>,
    /// Tokens of each completion.
    lengths: Vec<i64>,
    /// `[c]` which completion a token belongs to, and how many tokens that has.
    completion_c: Tensor,
    pub(crate) length_c: Tensor,
    /// Groups of the batch that are in here.
    pub(crate) groups: Range<usize>,
}

impl MicroBatch {
    /// What logits are read as: the distribution that the rollout drew from.
    pub(crate) fn distribution<'a>(&'a self, policy: &'a Vlm, phase: &GrpoPhase) -> Distribution<'a> {
        Distribution {
            allowed_v: policy.allowed_tokens(),
            temperature: f64::from(phase.sampling.temperature),
            support: self.support.as_ref(),
        }
    }

    /// `[c]` log-probabilities under another network of the same distribution, computed as the policy's are.
    pub(crate) fn logprobs_of(&self, network: &Network, policy: &Vlm, phase: &GrpoPhase) -> Tensor {
        logprobs(network, &self.packed, self.steps.as_ref(), self.distribution(policy, phase))
    }

    /// Sums over completions, at each of their tokens.
    pub(crate) fn summed(&self, values_c: &Tensor) -> Tensor {
        let options = (Kind::Double, values_c.device());
        let sums_m = Tensor::zeros([self.lengths.len() as i64], options);
        let sums_m = sums_m.index_add(0, &self.completion_c, &values_c.to_kind(Kind::Double));
        sums_m.index_select(0, &self.completion_c).to_kind(values_c.kind())
    }

    /// `[m]` sums over completions.
    fn per_completion(&self, values_c: &Tensor) -> Vec<f64> {
        values_c
            .split_with_sizes(self.lengths.as_slice(), 0)
            .iter()
            .map(|values| values.sum(Kind::Double).double_value(&[]))
            .collect()
    }

    /// `[m]` values of each completion's tokens; one that is not finite is none.
    pub(crate) fn by_completion(&self, values_c: &Tensor) -> TokenNumbers {
        let finite = |x: f64| x.is_finite().then_some(x as f32);
        let completions = values_c.split_with_sizes(self.lengths.as_slice(), 0);
        completions
            .iter()
            .map(|values| values.iter::<f64>().into_iter().flatten().map(finite).collect())
            .collect()
    }

    /// `[m]` divergence of each completion from the reference as the rollout saw it, summed over its tokens.
    pub(crate) fn penalties(&self, phase: &GrpoPhase) -> Vec<f64> {
        match &self.reference_c {
            Some(reference_c) => self.per_completion(&kl(phase.kl.estimator, &self.rollout_c, reference_c)),
            None => vec![0.0; self.lengths.len()],
        }
    }

    /// Gives every token the advantage of its completion.
    pub(crate) fn set_advantages(&mut self, advantages_m: &[f32]) {
        let advantages_m = Tensor::from_slice(advantages_m).to_device(self.completion_c.device());
        self.advantage_c = advantages_m.index_select(0, &self.completion_c);
    }

    /// Takes from each token's advantage `weight` times the divergence of it and the tokens behind it (REINFORCE++, Hu
    /// et al. 2025, arXiv 2501.03262, equation 4, without discount).
    pub(crate) fn penalise_tokens(&mut self, phase: &GrpoPhase, weight: f64) {
        let Some(reference_c) = &self.reference_c else { return };
        let kl_c = kl(phase.kl.estimator, &self.rollout_c, reference_c);
        let ahead: Vec<Tensor> = kl_c
            .split_with_sizes(self.lengths.as_slice(), 0)
            .iter()
            .map(|kl| kl.flip([0]).cumsum(0, Kind::Float).flip([0]))
            .collect();
        self.advantage_c = &self.advantage_c - Tensor::cat(&ahead, 0) * weight;
    }
}

/// Packs the groups of a step within the phase's token budget.
pub(crate) fn pack(
    phase: &GrpoPhase,
    policy: &Vlm,
    groups: &[&ScoredGroup],
) -> Result<Vec<MicroBatch>, StageError> {
    let prompts = groups.iter().map(|group| encode(policy, group)).collect::<Result<Vec<_>, _>>()?;
    let completions = |group: &ScoredGroup| group.group.completions.iter().map(n_tokens).collect::<Vec<_>>();
    let lengths: Vec<Vec<usize>> = groups.iter().map(|group| completions(group)).collect();
    let sizes: Vec<usize> = prompts
        .iter()
        .zip(&lengths)
        .map(|(prompt, lengths)| prompt.token_ids.len() + lengths.iter().sum::<usize>())
        .collect();

    // Weights look at the whole batch, so that splits do not change the result.
    let weights = token_weights(&lengths.concat(), phase.scale(), phase.sampling.max_new_tokens);
    let total = weights.len().max(1);
    let mut weights = weights.into_iter();
    // A replay is of one group.
    let budget = if phase.exact { 1 } else { phase.micro_batch_tokens };
    let batches = split_by_tokens(&sizes, budget).into_iter().map(|range| {
        let lengths = lengths[range.clone()].concat();
        let weights: Vec<f32> = weights.by_ref().take(lengths.iter().sum()).collect();
        let mut batch = micro_batch(phase, policy, &prompts[range.clone()], &groups[range.clone()], &lengths);
        batch.weight_c = Tensor::from_slice(&weights).to_device(policy.device());
        batch.share = 1.0 / total as f64;
        batch.groups = range;
        batch
    });
    Ok(batches.collect())
}

fn encode(policy: &Vlm, group: &ScoredGroup) -> Result<EncodedPrompt, StageError> {
    let sample = &group.group.sample;
    policy.encode(&sample.messages).map_err(|e| StageError::sample(&sample.id, e))
}

/// The records of the completions, one after another; none where none has one.
fn support(groups: &[&ScoredGroup]) -> Option<Support> {
    let completions = || groups.iter().flat_map(|group| &group.group.completions);
    completions().any(|completion| completion.support.is_some()).then(|| {
        let mut all = Support::default();
        for completion in completions() {
            match &completion.support {
                Some(support) => all.extend(support),
                None => all.extend(&Support::whole(n_tokens(completion))),
            }
        }
        all
    })
}

fn n_tokens(completion: &Completion) -> usize {
    completion.token_ids.len()
}

fn micro_batch(
    phase: &GrpoPhase,
    policy: &Vlm,
    prompts: &[EncodedPrompt],
    groups: &[&ScoredGroup],
    lengths: &[usize],
) -> MicroBatch {
    let packing: Vec<(&EncodedPrompt, Vec<&[i64]>)> = prompts
        .iter()
        .zip(groups)
        .map(|(prompt, group)| {
            (prompt, group.group.completions.iter().map(|c| c.token_ids.as_slice()).collect())
        })
        .collect();
    let steps = match packing.as_slice() {
        [(prompt, completions)] if phase.exact => Some(Steps::new(policy, prompt, completions)),
        _ => None,
    };
    let by_difficulty = phase.kl.by_difficulty && phase.kl.place == KlPlace::Loss;
    let (mut advantages, mut kl_scales, mut rollout) = (Vec::new(), Vec::new(), Vec::new());
    for group in groups {
        let pass_rate = group.pass_rate();
        for (completion, &advantage) in group.group.completions.iter().zip(&group.advantages) {
            advantages.push(advantage);
            kl_scales.push(if by_difficulty { difficulty_weight(pass_rate, advantage) as f32 } else { 1.0 });
            rollout.extend_from_slice(&completion.logprobs);
        }
    }

    let device: Device = policy.device();
    let completion: Vec<i64> =
        lengths.iter().enumerate().flat_map(|(m, &l)| std::iter::repeat_n(m as i64, l)).collect();
    let completion_c = Tensor::from_slice(&completion).to_device(device);
    let per_token =
        |values: &[f32]| Tensor::from_slice(values).to_device(device).index_select(0, &completion_c);
    let lengths_f: Vec<f32> = lengths.iter().map(|&l| l as f32).collect();
    MicroBatch {
        packed: policy.pack(&packing),
        steps,
        support: support(groups),
        weight_c: Tensor::new(),
        share: 0.0,
        advantage_c: per_token(&advantages),
        kl_scale_c: per_token(&kl_scales),
        rollout_c: Tensor::from_slice(&rollout).to_device(device),
        reference_c: None,
        old_c: None,
        length_c: per_token(&lengths_f),
        lengths: lengths.iter().map(|&l| l as i64).collect(),
        completion_c,
        groups: 0..0,
    }
}
