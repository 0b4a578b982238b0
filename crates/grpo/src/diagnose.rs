//! Where a batch becomes non-finite: each group alone, from its inputs to the gradients of the parameters.

use reft_config::KlPlace;
use reft_core::{ScoredGroup, Seed, StageError};
use reft_dist::Group;
use reft_vlm::{Vlm, model::Param};
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use crate::{
    Objective, PassOptions, TokenNumbers,
    backward::Update,
    batch::{MicroBatch, split},
    numbers::flat,
    ranks::Ranks,
    sums::Sums,
};

/// What was found about a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupDiagnosis {
    /// The question.
    pub sample: String,
    /// Loss of the group as a batch of its own; none when it is not finite, or was not reached.
    pub loss: Option<f64>,
    /// Norm of the gradient; none when it is not finite, or was not reached.
    pub grad_norm: Option<f64>,
    /// The first thing on the way from the inputs to the gradients that is not finite; none when all are.
    pub first: Option<String>,
    /// Log-probs of the reference for each completion's tokens, so that a replay needs no reference.
    pub reference: Option<TokenNumbers>,
    /// Log-probs at the first update of the batch, where a later one was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<TokenNumbers>,
}

/// What is known of a group besides its answers: log-probs of each completion's tokens.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Those of the reference; none without a KL penalty.
    pub reference: Option<TokenNumbers>,
    /// Those at the first update of the batch, where a later one is computed.
    pub old: Option<TokenNumbers>,
}

/// Computes loss and gradient of each group alone, with the policy as it is; it is not changed.
pub fn diagnose(
    objective: &Objective,
    options: PassOptions,
    policy: &mut Vlm,
    groups: &[&ScoredGroup],
    known: &[Known],
    kl_weight: f64,
) -> Result<Vec<GroupDiagnosis>, StageError> {
    let weights = non_finite_parameter(policy, false).map(|name| format!("weight `{name}`"));
    let mut found = Vec::with_capacity(groups.len());
    for (i, &group) in groups.iter().enumerate() {
        let mut batches = split(objective, options, policy, &[group])?;
        let Some(batch) = batches.first_mut() else { continue };
        let Known { reference, old } = known.get(i).cloned().unwrap_or_default();
        let on_device = |numbers: &TokenNumbers| flat(numbers).to_device(policy.device());
        batch.reference_c = reference.as_ref().map(on_device);
        batch.old_c = old.as_ref().map(on_device);
        if objective.kl_place() == KlPlace::TokenReward {
            batch.penalise_tokens(objective, kl_weight);
        }
        let mut diagnosis = GroupDiagnosis {
            sample: group.group.sample.id.to_string(),
            loss: None,
            grad_norm: None,
            first: weights.clone().or_else(|| on_the_way(policy, batch)),
            reference,
            old,
        };
        if diagnosis.first.is_none() {
            back(objective, options, policy, batch, kl_weight, &mut diagnosis)?;
        }
        found.push(diagnosis);
    }
    Ok(found)
}

/// Inputs and the forward pass.
fn on_the_way(policy: &Vlm, batch: &MicroBatch) -> Option<String> {
    if !is_finite(&batch.advantage_c) {
        return Some("advantages: the reward or its normalisation is no number".into());
    }
    if !is_finite(&batch.rollout_c) {
        return Some("log-probs of the rollout".into());
    }
    if let Some(found) = policy.network().first_non_finite(&batch.packed(policy)) {
        return Some(found);
    }
    let unlikely = batch.reference_c.as_ref().is_some_and(|reference_c| !is_finite(reference_c));
    unlikely.then(|| "log-probs of the reference".into())
}

/// Loss and gradient.
fn back(
    objective: &Objective,
    options: PassOptions,
    policy: &mut Vlm,
    batch: &mut MicroBatch,
    kl_weight: f64,
    diagnosis: &mut GroupDiagnosis,
) -> Result<(), StageError> {
    policy.learned_mut().zero_grad();
    let mut sums = Sums::default();
    let update = Update { objective, options, policy, kl_weight, seed: Seed::new(0) };
    let batches = std::slice::from_ref(batch);
    // Every rank looks at every group.
    let group = Group::alone();
    let prepared_c = update.prepare(|_| None, batches, &Ranks::new(&group, batches))?.pop().flatten();
    update.backward(policy.network(), batch, prepared_c, &mut sums);
    if sums.loss.is_finite() {
        diagnosis.loss = Some(sums.loss);
        let norm = reft_train::grad_norm(policy);
        diagnosis.grad_norm = norm.is_finite().then_some(norm);
        diagnosis.first = non_finite_parameter(policy, true).map(|name| format!("gradient of `{name}`"));
        if diagnosis.first.is_none() && !norm.is_finite() {
            diagnosis.first = Some("norm of the gradient: it overflows".into());
        }
    } else {
        let now_c = batch.logprobs_of(policy.network(), policy);
        let logprobs = !is_finite(&now_c);
        diagnosis.first =
            Some(if logprobs { "log-probs of the policy" } else { "the loss of finite log-probs" }.into());
    }
    policy.learned_mut().zero_grad();
    Ok(())
}

/// The last parameter, in order of the network, whose value or gradient is not finite: gradients come from behind.
fn non_finite_parameter(policy: &Vlm, of_gradients: bool) -> Option<String> {
    let adapter = policy.lora().map(|_| policy.learned());
    adapter.into_iter().chain([policy.params()]).find_map(|store| {
        let is_bad = |param: &&Param| {
            let values = if of_gradients { store.grad(param) } else { param.tensor.shallow_clone() };
            values.defined() && !is_finite(&values)
        };
        store.params().iter().rev().find(is_bad).map(|param| param.spec.name.clone())
    })
}

fn is_finite(x: &Tensor) -> bool {
    no_grad(|| x.isfinite().all().int64_value(&[]) == 1)
}
