//! What an update needs of a batch of rollouts: groups to be packed for forward passes, and numbers for each of their
//! tokens. A micro-batch is packed when its turn comes: masks and pixels of all of them at once may be larger than the model.
//!
//! Axes in tensor names: c completion token, m completion.

use std::{cell::OnceCell, ops::Range, rc::Rc};

use reft_core::{Completion, ScoredGroup, Seed, StageError, Support};
use reft_train::{TokenStats, ranks::shared_budget, split_by_tokens, split_where};
use reft_vlm::{
    Vlm,
    model::{Distribution, Network, PackedBatch},
    processor::EncodedPrompt,
};
use tch::{Device, Kind, Tensor};

use crate::{
    Objective, Terms, Tokens,
    pass::{PassOptions, Steps, logprobs, stats},
};

/// One forward and backward pass: a few groups and what the loss needs of them, `[c]` each.
pub(crate) struct MicroBatch {
    prompts: Vec<EncodedPrompt>,
    /// Token ids of the completions of each prompt.
    completions: Vec<Vec<Vec<i64>>>,
    /// The packed groups, kept where there is no other micro-batch.
    kept: Option<OnceCell<Rc<PackedBatch>>>,
    /// The steps of its one group, with `exact = true`.
    pub(crate) steps: Option<Steps>,
    /// Softmax temperature that its groups were drawn with.
    temperature: f64,
    /// What the rollout drew each token from; none where nothing was out of reach.
    support: Option<Support>,
    /// Weight of the token in the mean over the batch.
    pub(crate) weight_c: Tensor,
    /// 1 over the tokens of the batch that count: the weight in a plain mean over tokens.
    share: f64,
    pub(crate) advantage_c: Tensor,
    /// What difficulty makes of the KL weight.
    kl_scale_c: Tensor,
    /// Log-probs as the rollout had them.
    pub(crate) rollout_c: Tensor,
    pub(crate) reference_c: Option<Tensor>,
    /// Log-probs at the first update of this batch of rollouts.
    pub(crate) old_c: Option<Tensor>,
    /// Importance weights, from the first update on; none without a correction.
    pub(crate) importance_c: Option<Tensor>,
    /// Whether the token's question shows an image.
    pub(crate) shows_image_c: Tensor,
    /// Tokens of each completion.
    pub(crate) lengths: Vec<i64>,
    /// Completions of each group.
    pub(crate) sizes: Vec<usize>,
    length_c: Tensor,
    /// Which completion and group of the batch a token belongs to.
    completion_c: Tensor,
    group_c: Tensor,
    /// Groups of the batch that are in here.
    pub(crate) groups: Range<usize>,
}

/// What all micro-batches of a batch share.
struct Whole<'a> {
    objective: &'a Objective,
    options: PassOptions,
    policy: &'a Vlm,
    groups: &'a [&'a ScoredGroup],
    /// `[c]` weights of all tokens of the batch.
    weights: Vec<f32>,
    /// Tokens that have a weight.
    counted: usize,
}

impl MicroBatch {
    /// The groups of a range with their prompts. `completions` and `tokens` say how many come before it in the batch.
    fn new(
        whole: &Whole<'_>,
        range: Range<usize>,
        prompts: Vec<EncodedPrompt>,
        completions: usize,
        tokens: usize,
    ) -> Self {
        let Whole { objective, options, policy, .. } = *whole;
        let groups = &whole.groups[range.clone()];
        let token_ids = |group: &&ScoredGroup| -> Vec<Vec<i64>> {
            group.group.completions.iter().map(|completion| completion.token_ids.clone()).collect()
        };
        let steps = match (prompts.as_slice(), groups) {
            ([prompt], [group]) if options.exact => {
                let completions = group.group.completions.iter().map(|c| c.token_ids.as_slice());
                Some(Steps::new(policy, prompt, &completions.collect::<Vec<_>>()))
            }
            _ => None,
        };
        let (mut lengths, mut advantages, mut kl_scales, mut rollout) = (vec![], vec![], vec![], vec![]);
        let (mut group_of, mut shows_image) = (Vec::new(), Vec::new());
        for (g, group) in range.clone().zip(groups) {
            let pass_rate = group.pass_rate();
            for (completion, &advantage) in group.group.completions.iter().zip(&group.advantages) {
                lengths.push(n_tokens(completion) as i64);
                advantages.push(advantage);
                kl_scales.push(objective.kl_scale(pass_rate, advantage));
                rollout.extend_from_slice(&completion.logprobs);
                group_of.push(g as i64);
                shows_image.push(group.group.sample.images().next().is_some());
            }
        }

        let device: Device = policy.device();
        let m = lengths.len() as i64;
        let lengths_m = Tensor::from_slice(&lengths);
        let per_token = |values_m: &Tensor| repeat(values_m, &lengths_m).to_device(device);
        let n = rollout.len();
        Self {
            kept: (range.len() == whole.groups.len()).then(OnceCell::new),
            prompts,
            completions: groups.iter().map(token_ids).collect(),
            steps,
            temperature: groups.first().map_or(options.temperature, |group| temperature(group, options)),
            support: support(groups),
            weight_c: Tensor::from_slice(&whole.weights[tokens..tokens + n]).to_device(device),
            share: 1.0 / whole.counted.max(1) as f64,
            advantage_c: per_token(&Tensor::from_slice(&advantages)),
            kl_scale_c: per_token(&Tensor::from_slice(&kl_scales)),
            rollout_c: Tensor::from_slice(&rollout).to_device(device),
            reference_c: None,
            old_c: None,
            importance_c: None,
            shows_image_c: per_token(&Tensor::from_slice(&shows_image)),
            length_c: per_token(&lengths_m.to_kind(Kind::Float)),
            completion_c: per_token(&(Tensor::arange(m, (Kind::Int64, Device::Cpu)) + completions as i64)),
            group_c: per_token(&Tensor::from_slice(&group_of)),
            lengths,
            sizes: groups.iter().map(|group| group.group.completions.len()).collect(),
            groups: range,
        }
    }

    /// Tokens of a pass.
    pub(crate) fn cost(&self) -> usize {
        let prompts = self.prompts.iter().map(|prompt| prompt.token_ids.len()).sum::<usize>();
        prompts + self.lengths.iter().sum::<i64>() as usize
    }

    /// Its groups, packed for a pass.
    pub(crate) fn packed(&self, policy: &Vlm) -> Rc<PackedBatch> {
        let pack = || {
            let completions = self.completions.iter().map(|own| own.iter().map(Vec::as_slice).collect());
            Rc::new(policy.pack(&self.prompts.iter().zip(completions).collect::<Vec<_>>()))
        };
        match &self.kept {
            Some(kept) => Rc::clone(kept.get_or_init(pack)),
            None => pack(),
        }
    }

    /// What logits are read as: the distribution that the rollout drew from.
    pub(crate) fn distribution<'a>(&'a self, policy: &'a Vlm) -> Distribution<'a> {
        Distribution {
            allowed_v: policy.allowed_tokens(),
            temperature: self.temperature,
            support: self.support.as_ref(),
        }
    }

    /// `[c]` log-probabilities under another network of the same distribution, computed as the policy's are.
    pub(crate) fn logprobs_of(&self, network: &Network, policy: &Vlm) -> Tensor {
        logprobs(network, &self.packed(policy), self.steps.as_ref(), self.distribution(policy))
    }

    /// Log-probabilities and entropies under a network, without gradient.
    pub(crate) fn stats(&self, network: &Network, policy: &Vlm) -> TokenStats {
        stats(network, &self.packed(policy), self.steps.as_ref(), self.distribution(policy))
    }

    /// Its tokens with log-probs of now and of the first update, of the rollout where there are none yet.
    pub(crate) fn tokens(&self, logprob_c: Option<Tensor>, entropy_c: Option<Tensor>, seed: Seed) -> Tokens {
        let logprob_c = logprob_c.unwrap_or_else(|| self.rollout_c.shallow_clone());
        Tokens {
            old_c: self.old_c.as_ref().unwrap_or(&logprob_c).shallow_clone(),
            logprob_c,
            rollout_c: self.rollout_c.shallow_clone(),
            entropy_c,
            advantage_c: self.advantage_c.shallow_clone(),
            length_c: self.length_c.shallow_clone(),
            completion_c: self.completion_c.shallow_clone(),
            group_c: self.group_c.shallow_clone(),
            prepared_c: None,
            seed,
        }
    }

    /// What comes beside the policy loss of some tokens.
    pub(crate) fn terms(&self, range: &Range<i64>, kl_weight: f64, entropy_c: &Tensor) -> Terms {
        let part = |x: &Tensor| x.narrow(0, range.start, range.end - range.start);
        Terms {
            weight_c: part(&self.weight_c),
            reference_c: self.reference_c.as_ref().map(part),
            kl_weight_c: part(&self.kl_scale_c) * kl_weight,
            entropy_c: entropy_c * part(&self.weight_c).gt(0.0),
            share: self.share,
            importance_c: self.importance_c.as_ref().map(part),
        }
    }

    /// Whether the question of some tokens shows an image.
    pub(crate) fn shows_image(&self, range: &Range<i64>) -> Tensor {
        self.shows_image_c.narrow(0, range.start, range.end - range.start)
    }

    /// `[m]` divergence of each completion from the reference as the rollout saw it, summed over its tokens.
    pub(crate) fn penalties(&self, objective: &Objective) -> Vec<f64> {
        match &self.reference_c {
            Some(reference_c) => objective
                .kl(&self.rollout_c, reference_c)
                .split_with_sizes(self.lengths.as_slice(), 0)
                .iter()
                .map(|values| values.sum(Kind::Double).double_value(&[]))
                .collect(),
            None => vec![0.0; self.lengths.len()],
        }
    }

    /// Gives every token the advantage of its completion.
    pub(crate) fn set_advantages(&mut self, advantages_m: &[f32]) {
        let lengths_m = Tensor::from_slice(&self.lengths);
        self.advantage_c =
            repeat(&Tensor::from_slice(advantages_m), &lengths_m).to_device(self.rollout_c.device());
    }

    /// Takes from each token's advantage `weight` times the divergence of it and the tokens behind it (REINFORCE++, Hu
    /// et al. 2025, arXiv 2501.03262, equation 4, without discount).
    pub(crate) fn penalise_tokens(&mut self, objective: &Objective, weight: f64) {
        let Some(reference_c) = &self.reference_c else { return };
        let ahead: Vec<Tensor> = objective
            .kl(&self.rollout_c, reference_c)
            .split_with_sizes(self.lengths.as_slice(), 0)
            .iter()
            .map(|kl| kl.flip([0]).cumsum(0, Kind::Float).flip([0]))
            .collect();
        self.advantage_c = &self.advantage_c - Tensor::cat(&ahead, 0) * weight;
    }
}

/// The groups of a step in micro-batches within the phase's token budget.
pub(crate) fn split(
    objective: &Objective,
    options: PassOptions,
    policy: &Vlm,
    groups: &[&ScoredGroup],
) -> Result<Vec<MicroBatch>, StageError> {
    let prompts = groups.iter().map(|group| encode(policy, group)).collect::<Result<Vec<_>, _>>()?;
    let lengths: Vec<Vec<usize>> =
        groups.iter().map(|group| group.group.completions.iter().map(n_tokens).collect()).collect();
    let sizes: Vec<usize> = prompts
        .iter()
        .zip(&lengths)
        .map(|(prompt, lengths)| prompt.token_ids.len() + lengths.iter().sum::<usize>())
        .collect();

    let weights = weights(objective, groups);
    let whole = Whole {
        objective,
        options,
        policy,
        groups,
        counted: weights.iter().filter(|&&w| w > 0.0).count(),
        weights,
    };
    let shared = || shared_budget(options.micro_batch_tokens, sizes.iter().sum(), options.ranks);
    // A replay is of one group.
    let budget = if options.exact { 1 } else { shared() };
    let (mut completions, mut tokens) = (0, 0);
    let mut prompts = prompts.into_iter();
    // One distribution reads all logits of a pass, and a pass belongs to one part of the batch.
    let kind = |i: usize| {
        let part = options.apart.map(|apart| apart.part_of(&groups[i].group.sample));
        (temperature(groups[i], options), part)
    };
    let ranges = split_where(split_by_tokens(&sizes, budget), |a, b| kind(a) == kind(b)).into_iter();
    let batches = ranges.map(|range| {
        let own = lengths[range.clone()].concat();
        let own_prompts = prompts.by_ref().take(range.len()).collect();
        let batch = MicroBatch::new(&whole, range, own_prompts, completions, tokens);
        completions += own.len();
        tokens += own.iter().sum::<usize>();
        batch
    });
    Ok(batches.collect())
}

/// `[c]` weights of all tokens of a batch: they look at the whole batch, so that splits do not change the result. Tokens
/// of answers that teach nothing weigh 0 and are not counted.
fn weights(objective: &Objective, groups: &[&ScoredGroup]) -> Vec<f32> {
    let answers = || groups.iter().flat_map(|group| group.group.completions.iter().zip(&group.rewards));
    let counted = answers().map(|(answer, reward)| if reward.teaches() { n_tokens(answer) } else { 0 });
    let mut counted = objective.token_weights(&counted.collect::<Vec<_>>()).into_iter();
    let weight = |teaches: bool| if teaches { counted.next().unwrap_or_default() } else { 0.0 };
    answers()
        .flat_map(|(answer, reward)| std::iter::repeat_n(reward.teaches(), n_tokens(answer)))
        .map(weight)
        .collect()
}

fn temperature(group: &ScoredGroup, options: PassOptions) -> f64 {
    group.group.temperature.map_or(options.temperature, f64::from)
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

/// `[c]` the values of completions `[m]` at each of their tokens.
fn repeat(values_m: &Tensor, lengths_m: &Tensor) -> Tensor {
    values_m.repeat_interleave_self_tensor(lengths_m, 0, None)
}
