//! Checks of phases and of the settings of their stages.

use std::collections::BTreeSet;

use reft_core::Seed;

use super::{
    At, curriculum, filter,
    forms::check_forms,
    is_plain_name, loss,
    reward::{self, is_address, not_an_address},
    servers,
};
use crate::{
    AdvantageConfig, CorrectionConfig, Device, Dtype, EvalPhase, GradientConfig, GrpoPhase, JudgeConfig,
    KlPlace, LrScale, OptimizerConfig, PhaseConfig, Recipe, RejectPhase, SamplingConfig, SftPhase,
    SmallWeights, TrainableConfig, ValidationConfig, nearest::suggestion,
};

/// The smallest temperature of a policy that learns.
const LEAST_TEMPERATURE: f32 = 1e-3;

/// Checks phase `i` of the recipe.
pub(super) fn check(recipe: &Recipe, i: usize, at: &mut At<'_>) {
    match &recipe.phase[i] {
        PhaseConfig::Sft(phase) => check_sft(recipe, i, phase, at),
        PhaseConfig::Grpo(phase) => check_grpo(recipe, phase, at),
        PhaseConfig::Reject(phase) => check_reject(recipe, phase, at),
        PhaseConfig::Eval(phase) => check_eval(recipe, phase, at),
    }
}

fn check_grpo(recipe: &Recipe, phase: &GrpoPhase, at: &mut At<'_>) {
    check_data_name(recipe, &phase.data, at);
    check_forms(&phase.forms, at);
    check_length(phase.steps, phase.epochs, at);
    at.at_least_one(phase.prompts_per_step as u64, "prompts_per_step");
    at.at_least_one(phase.updates_per_batch as u64, "updates_per_batch");
    at.in_range(phase.lr, 0.0.., "lr", "0 or above");
    at.at_least_one(phase.max_skipped, "max_skipped");
    loss::check(phase, at);

    let mut sampling = at.at("sampling");
    check_sampling(&phase.sampling, &mut sampling);
    sampling.require(phase.sampling.group_size >= 2, "group_size", || {
        "must be at least 2: a completion is compared with the others of its group".to_owned()
    });
    let temperature = phase.sampling.temperature;
    sampling.require(temperature <= 0.0 || temperature >= LEAST_TEMPERATURE, "temperature", || {
        format!(
            "`{temperature:e}` is below {LEAST_TEMPERATURE:e}: gradients are divided by it, and answers would all be the \
             same; take 1, the policy's own distribution, or a value near it"
        )
    });
    for (key, is_set) in [
        ("repetition_penalty", phase.sampling.repetition_penalty != 1.0),
        ("presence_penalty", phase.sampling.presence_penalty != 0.0),
        ("frequency_penalty", phase.sampling.frequency_penalty != 0.0),
    ] {
        sampling.require(!is_set, key, || {
            "shifts logits by what was written before, so answers would not be drawn from the policy that learns; leave \
             it out, or pay for variety with `reward.repetition`"
                .to_owned()
        });
    }
    reward::check(&phase.reward, &mut at.at("reward"));
    if let AdvantageConfig::PassAtK { k, right_from } = phase.advantage {
        let mut at = at.at("advantage");
        at.in_range(k as f64, 1.0..=phase.sampling.group_size as f64, "k", "from 1 to `sampling.group_size`");
        at.in_range(f64::from(right_from), f64::MIN..=f64::MAX, "right_from", "finite");
    }
    let by_parts = phase.advantage == AdvantageConfig::Gdpo;
    at.require(!by_parts || phase.kl.place != KlPlace::Reward, "kl.place", || {
        "`reward` takes the penalty from the total, which `advantage.type = \"gdpo\"` does not look at; set \
         `kl.place = \"loss\"`"
            .to_owned()
    });
    if phase.exact {
        check_exact(recipe, phase, at);
    }
    check_optimizer(recipe, &phase.optimizer, &mut at.at("optimizer"));
    check_gradient(
        recipe,
        phase.gradient.as_ref(),
        phase.trainable,
        &phase.optimizer,
        &mut at.at("gradient"),
    );
    check_trainable(phase.trainable, at);
    servers::check_rollout(recipe, phase, at);
    if let Some(correction) = &phase.correction {
        check_correction(correction, &mut at.at("correction"));
    }
    check_validation(recipe, phase.validation.as_ref(), &mut at.at("validation"));
    curriculum::check(&phase.curriculum, &mut at.at("curriculum"));
    curriculum::check_weights(&phase.curriculum, recipe.data.get(&phase.data), &mut at.at("curriculum"));
    filter::check(&phase.filter, &mut at.at("filter"));
    let mut guard = at.at("guard");
    guard.in_range(phase.guard.min_teaching, 0.0..=1.0, "min_teaching", "from 0 to 1");
    guard.in_range(phase.guard.max_truncated, 0.0..=1.0, "max_truncated", "from 0 to 1");
}

fn check_correction(correction: &CorrectionConfig, at: &mut At<'_>) {
    at.in_range(correction.clip_max, 1.0.., "clip_max", "1 or above: equal log-probs have a ratio of 1");
    at.in_range(correction.clip_min, 0.0..=1.0, "clip_min", "from 0 to 1");
    at.in_range(correction.max_mismatch, f64::MIN_POSITIVE.., "max_mismatch", "above 0");
}

fn check_gradient(
    recipe: &Recipe,
    gradient: Option<&GradientConfig>,
    trainable: TrainableConfig,
    optimizer: &OptimizerConfig,
    at: &mut At<'_>,
) {
    let Some(gradient) = gradient else { return };
    let of_model = !matches!(gradient, GradientConfig::PcGrad(_));
    at.require(!of_model || recipe.model.lora.is_none(), "type", || {
        "works on the weights of the model itself; leave `model.lora` or `gradient` out".to_owned()
    });
    at.require(!of_model || trainable.decoder, "type", || {
        "works on the layers of the decoder, which do not learn; set `trainable.decoder = true`".to_owned()
    });
    match gradient {
        GradientConfig::PcGrad(_) => {}
        GradientConfig::Drift(drift) => at.in_range(drift.alpha, f64::MIN..=f64::MAX, "alpha", "finite"),
        GradientConfig::Lift(lift) => {
            at.in_range(lift.share, f64::MIN_POSITIVE..=1.0, "share", "above 0 and at most 1");
            at.at_least_one(lift.rank as u64, "rank");
            at.require(optimizer.weight_decay == 0.0, "type", || {
                "`lift` moves the chosen weights alone, and decay moves all; set `optimizer.weight_decay = 0`"
                    .to_owned()
            });
        }
    }
}

/// What keeps rollout and trainer from computing the same bits.
fn check_exact(recipe: &Recipe, phase: &GrpoPhase, at: &mut At<'_>) {
    let model = &recipe.model;
    let dropout = model.lora.as_ref().and_then(|lora| lora.dropout).unwrap_or(0.0);
    let hindrances = [
        (model.device != Device::Cpu, "is for the CPU; set `model.device = \"cpu\"`"),
        (model.dtype != Dtype::Fp32, "is for fp32; set `model.dtype = \"fp32\"`"),
        (dropout > 0.0, "cannot be with dropout in training alone; set `model.lora.dropout = 0`"),
        (phase.recompute, "keeps the whole graph; leave `recompute` out"),
    ];
    for (hinders, message) in hindrances {
        at.require(!hinders, "exact", || message.to_owned());
    }
}

fn check_sft(recipe: &Recipe, i: usize, phase: &SftPhase, at: &mut At<'_>) {
    at.require(!phase.data.is_empty(), "data", || {
        "name at least one data set or earlier `reject` phase".to_owned()
    });
    for name in &phase.data {
        let position = recipe
            .phase
            .iter()
            .position(|phase| matches!(phase, PhaseConfig::Reject(_)) && phase.name() == name);
        let known = recipe.data.contains_key(name) || position.is_some_and(|at| at < i);
        at.require(known, "data", || {
            if position.is_some() {
                return format!("`reject` phase `{name}` comes later; move it before this phase");
            }
            let rejects = recipe.phase[..i].iter().filter_map(|phase| match phase {
                PhaseConfig::Reject(reject) => Some(reject.name.as_str()),
                PhaseConfig::Sft(_) | PhaseConfig::Grpo(_) | PhaseConfig::Eval(_) => None,
            });
            let known = recipe.data.keys().map(String::as_str).chain(rejects);
            format!("`{name}` is neither a data set nor an earlier `reject` phase{}", suggestion(name, known))
        });
    }
    check_forms(&phase.forms, at);
    check_length(phase.steps, phase.epochs, at);
    at.at_least_one(phase.batch_size as u64, "batch_size");
    at.in_range(phase.lr, 0.0.., "lr", "0 or above");
    check_optimizer(recipe, &phase.optimizer, &mut at.at("optimizer"));
    check_gradient(
        recipe,
        phase.gradient.as_ref(),
        phase.trainable,
        &phase.optimizer,
        &mut at.at("gradient"),
    );
    check_trainable(phase.trainable, at);
    check_validation(recipe, phase.validation.as_ref(), &mut at.at("validation"));
}

/// That a phase has one length.
fn check_length(steps: u64, epochs: Option<f64>, at: &mut At<'_>) {
    match epochs {
        Some(epochs) => {
            at.in_range(epochs, f64::MIN_POSITIVE.., "epochs", "above 0");
            at.require(steps == 0, "epochs", || {
                format!("says how long the phase is, and `steps = {steps}` does too; leave one of them out")
            });
        }
        None => at.require(steps >= 1, "steps", || "must be at least 1; or set `epochs`".to_owned()),
    }
}

fn check_validation(recipe: &Recipe, validation: Option<&ValidationConfig>, at: &mut At<'_>) {
    let Some(validation) = validation else { return };
    at.at_least_one(validation.every, "every");
    check_eval(recipe, &validation.as_eval("validation"), at);
}

fn check_reject(recipe: &Recipe, phase: &RejectPhase, at: &mut At<'_>) {
    check_data_name(recipe, &phase.data, at);
    check_forms(&phase.forms, at);
    at.at_least_one(phase.prompts_per_step as u64, "prompts_per_step");
    at.at_least_one(phase.keep as u64, "keep");
    at.in_range(f64::from(phase.threshold), 0.0..=100.0, "threshold", "from 0 to 100");
    check_judge(&phase.judge, &mut at.at("judge"));
    servers::check(phase.servers.as_ref(), &mut at.at("servers"));
    check_sampling(&phase.sampling, &mut at.at("sampling"));
    reward::check_local(&phase.reward, &mut at.at("reward"));
}

fn check_judge(judge: &JudgeConfig, at: &mut At<'_>) {
    let JudgeConfig::Server(server) = judge else { return };
    at.require(is_address(&server.url), "url", || not_an_address(&server.url));
    at.require(!server.model.is_empty(), "model", || "name the model".to_owned());
    at.in_range(server.timeout_s, f64::MIN_POSITIVE.., "timeout_s", "above 0");
    at.in_range(server.backoff_s, 0.0.., "backoff_s", "0 or above");
}

fn check_eval(recipe: &Recipe, phase: &EvalPhase, at: &mut At<'_>) {
    servers::check(phase.servers.as_ref(), &mut at.at("servers"));
    at.require(!phase.data.is_empty() || !phase.benchmarks.is_empty(), "data", || {
        "name at least one data set, or a benchmark in `[[phase.benchmarks]]`".to_owned()
    });
    for name in &phase.data {
        check_data_name(recipe, name, at);
    }
    let mut names: BTreeSet<&str> = phase.data.iter().map(String::as_str).collect();
    for (i, benchmark) in phase.benchmarks.iter().enumerate() {
        let mut at = at.at(&format!("benchmarks.{i}"));
        let label = benchmark.label.as_deref().unwrap_or(&benchmark.name);
        at.require(names.insert(label), "label", || {
            format!("`{label}` is asked twice in this phase; give one of them a `label` of its own")
        });
        at.require(is_plain_name(label), "label", || format!("`{label}` cannot name a folder"));
        at.require(
            benchmark.judge.is_none() || benchmark.judge_checkpoint.is_none(),
            "judge_checkpoint",
            || "stands in place of `judge`; leave one of them out".to_owned(),
        );
        if let Some(judge) = &benchmark.judge {
            at.require(is_address(&judge.url), "judge.url", || not_an_address(&judge.url));
        }
    }
    check_forms(&phase.forms, at);
    at.at_least_one(phase.prompts_per_step as u64, "prompts_per_step");
    check_sampling(&phase.sampling, &mut at.at("sampling"));
    reward::check_local(&phase.reward, &mut at.at("reward"));
}

fn check_data_name(recipe: &Recipe, name: &str, at: &mut At<'_>) {
    at.require(recipe.data.contains_key(name), "data", || {
        let hint = suggestion(name, recipe.data.keys().map(String::as_str));
        // An odd name is shown as it is; a plain one is most likely a slip.
        if is_plain_name(name) {
            format!("no `[data.{name}]` in the recipe{hint}")
        } else {
            format!("`{name}` is not a data set's name{hint}")
        }
    });
}

fn check_sampling(sampling: &SamplingConfig, at: &mut At<'_>) {
    for (key, message) in sampling.params(Seed::new(0)).problems() {
        at.require(false, key, || message);
    }
}

fn check_optimizer(recipe: &Recipe, optimizer: &OptimizerConfig, at: &mut At<'_>) {
    let words = "at least 0 and below 1";
    at.in_range(optimizer.beta1, 0.0..1.0, "beta1", words);
    at.in_range(optimizer.beta2, 0.0..1.0, "beta2", words);
    at.in_range(optimizer.eps, f64::MIN_POSITIVE.., "eps", "above 0");
    at.in_range(optimizer.weight_decay, 0.0.., "weight_decay", "0 or above");
    at.in_range(optimizer.max_grad_norm, 0.0.., "max_grad_norm", "0 or above");
    at.in_range(optimizer.warmup, 0.0..=1.0, "warmup", "from 0 to 1");
    let LrScale { vision_tower, merger, decoder } = optimizer.lr_scale;
    for (scale, part) in [(vision_tower, "vision_tower"), (merger, "merger"), (decoder, "decoder")] {
        at.in_range(scale, 0.0.., &format!("lr_scale.{part}"), "0 or above");
    }
    let (small, dtype) = (optimizer.small_weights, recipe.model.dtype);
    at.require(small != SmallWeights::Stochastic || dtype != Dtype::Fp16, "small_weights", || {
        "`stochastic` rounding is for `model.dtype = \"bf16\"`; with `fp16` use `kahan` or `master`"
            .to_owned()
    });
}

fn check_trainable(trainable: TrainableConfig, at: &mut At<'_>) {
    let TrainableConfig { vision_tower, merger, decoder } = trainable;
    at.require(vision_tower || merger || decoder, "trainable", || {
        "nothing would learn; switch on `vision_tower`, `merger` or `decoder`".to_owned()
    });
}
