//! The gradient of a step, on every parameter, with images: packed groups against the plain padded computation, splits
//! against the whole, recomputed layers against the whole graph.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

use reft_config::Shard;
use reft_core::{AdvantageEstimator, Form, PolicyOptimizer as _, RewardParts, ScoredGroup, Seed};
use reft_dist::{Group, on_threads};
use reft_grpo::GrpoOptimizer;
use reft_train::{Entropy, TokenPass};
use reft_vlm::{
    Vlm,
    model::{Distribution, Keep, PartOfModel},
    processor::{EncodedPrompt, ImageSpan},
};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use common::{groups, open, phase, questions};

const FAMILIES: [&str; 6] = [
    "tiny-vlm",
    "qwen2-vl/model",
    "qwen3-vl/model",
    "qwen3_5/model",
    "smolvlm/model",
    "internvl-qwen3/model",
];

/// Gradients by name, and zero afterwards.
fn take_gradients(model: &mut Vlm) -> Vec<(String, Tensor)> {
    let gradients = model
        .params()
        .params()
        .iter()
        .map(|param| {
            let grad = model.params().grad(param);
            let grad = if grad.defined() { grad.copy() } else { param.tensor.zeros_like() };
            (param.spec.name.clone(), grad.detach())
        })
        .collect();
    model.learned_mut().zero_grad();
    gradients
}

/// `rounding` is allowed on top: what weights near 1 lose when they are updated.
fn assert_same(
    got: &[(String, Tensor)],
    expected: &[(String, Tensor)],
    bound: f64,
    rounding: f64,
    what: &str,
) {
    let all = Tensor::cat(&expected.iter().map(|(_, x)| x.flatten(0, -1)).collect::<Vec<_>>(), 0);
    let floor = all.abs().mean(Kind::Double).double_value(&[]);
    assert!(floor > 1e-9, "{what}: there is no gradient");
    for ((name, got), (_, expected)) in got.iter().zip(expected) {
        // Relative to the parameter's largest; parameters whose gradient is 0 but for rounding against all.
        let scale = expected.abs().max().double_value(&[]).max(floor);
        let diff = (got - expected).abs().max().double_value(&[]);
        assert!(diff <= bound * scale + rounding, "{what}: {name} differs by {diff} at a scale of {scale}");
    }
}

/// Log-probs `[c]` as other trainers compute them: each completion is a row of its own with its prompt before it and
/// padding behind it, the image is encoded for every row, attention is plainly causal. Nothing is shared or packed.
fn padded_logprobs(model: &Vlm, prompts: &[EncodedPrompt], answers: &[Vec<Vec<i64>>]) -> Tensor {
    let rows: Vec<(&EncodedPrompt, &Vec<i64>)> = prompts
        .iter()
        .zip(answers)
        .flat_map(|(prompt, answers)| answers.iter().map(move |answer| (prompt, answer)))
        .collect();
    let longest = rows.iter().map(|(prompt, answer)| prompt.token_ids.len() + answer.len()).max().unwrap();
    let logprobs = rows.into_iter().map(|(prompt, answer)| {
        let mut token_ids = [prompt.token_ids.as_slice(), answer].concat();
        token_ids.resize(longest, 256);
        let images = prompt.images.iter().map(|image| ImageSpan {
            key: image.key,
            start: image.start,
            grid: image.grid,
            pixels: image.pixels.shallow_clone(),
        });
        let row = EncodedPrompt { token_ids, images: images.collect(), think_opened: false };
        let hidden = model.network().forward(&model.pack(&[(&row, Vec::new())]));
        let predictors = hidden.narrow(0, prompt.token_ids.len() as i64 - 1, answer.len() as i64);
        let logits = model.network().decoder.logits(&predictors) + model.allowed_tokens();
        let targets = Tensor::from_slice(answer).unsqueeze(1);
        logits.log_softmax(-1, Kind::Float).gather(1, &targets, false).squeeze_dim(1)
    });
    Tensor::cat(&logprobs.collect::<Vec<_>>(), 0)
}

#[test]
fn packed_groups_have_the_gradient_of_the_padded_computation() {
    for name in FAMILIES {
        let mut model = open(name);
        let (asked, answers): (Vec<_>, Vec<_>) = questions().into_iter().unzip();
        let prompts: Vec<EncodedPrompt> = asked.iter().map(|m| model.encode(m).unwrap()).collect();
        let n: i64 = answers.iter().flatten().map(|answer| answer.len() as i64).sum();
        let weight_c = (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 1.3).cos();

        let logprob_c = padded_logprobs(&model, &prompts, &answers);
        (&logprob_c * &weight_c).sum(Kind::Float).backward();
        let plain = take_gradients(&mut model);

        let packing: Vec<_> = prompts
            .iter()
            .zip(&answers)
            .map(|(prompt, answers)| (prompt, answers.iter().map(Vec::as_slice).collect()))
            .collect();
        let batch = model.pack(&packing);
        let images = batch.images.as_ref().unwrap();
        let views = prompts.iter().map(|prompt| prompt.images.len()).max();
        assert_eq!(Some(images.grids.len()), views, "an image that two groups show is encoded once");
        for keep in [Keep::Graph, Keep::LayerInputs] {
            let pass =
                TokenPass::new(model.network(), &batch, Distribution::whole(model.allowed_tokens()), keep);
            let diff = (pass.logprobs() - logprob_c.detach()).abs().max().double_value(&[]);
            // fp32 rounding through the network: up to 1.1e-6 of the largest log-prob was seen.
            let scale = logprob_c.abs().max().double_value(&[]);
            assert!(diff < 2e-6 * scale, "{name}: {diff} of {scale}");
            pass.backward(Entropy::Value, |stats, range| {
                (&stats.logprob_c * weight_c.narrow(0, range.start, range.end - range.start)).sum(Kind::Float)
            });
            // Sums in another order, in fp32: up to 3.4e-5 was seen in Qwen3.5, whose chunks are cut elsewhere, 1.4e-5 in the
            // other families (on a CPU with AVX-512 and bf16; below 1e-5 on others).
            assert_same(&take_gradients(&mut model), &plain, 5e-5, 0.0, &format!("{name}, {keep:?}"));
        }
    }
}

#[test]
fn recomputed_layers_have_the_gradient_of_the_whole_graph() {
    for name in FAMILIES {
        // Parts that do not learn are left out of the way back, and still give the others their gradient.
        for frozen in ["none", "tower", "all but the decoder", "decoder"] {
            let mut model = open(name);
            model.set_trainable(|part| match part {
                PartOfModel::VisionTower => !["tower", "all but the decoder"].contains(&frozen),
                PartOfModel::Merger => frozen != "all but the decoder",
                PartOfModel::Decoder => frozen != "decoder",
            });
            let (messages, answers) = questions().remove(0);
            let prompt = model.encode(&messages).unwrap();
            let batch = model.pack(&[(&prompt, answers.iter().map(Vec::as_slice).collect())]);
            let gradients = [Keep::Graph, Keep::LayerInputs].map(|keep| {
                let pass = TokenPass::new(
                    model.network(),
                    &batch,
                    Distribution::whole(model.allowed_tokens()),
                    keep,
                );
                pass.backward(Entropy::WithGradient, |stats, _| {
                    (stats.logprob_c.square() + &stats.entropy_c).sum(Kind::Float)
                });
                take_gradients(&mut model)
            });
            assert_same(&gradients[1], &gradients[0], 1e-6, 0.0, &format!("{name}, frozen: {frozen}"));
        }
    }
}

/// How far two steps of two updates each move every weight.
fn moves(name: &str, keys: &Value, more: &Value) -> Vec<(String, Tensor)> {
    moves_on(&groups(), name, keys, more)
}

/// [`moves`] on groups of one's own. With a large `eps`, AdamW follows the gradient itself
/// instead of its sign, so the moves are as exact as the gradients.
fn moves_on(groups: &[ScoredGroup], name: &str, keys: &Value, more: &Value) -> Vec<(String, Tensor)> {
    moves_with(groups, name, &for_moves(keys, more), Arc::default(), Shard::None)
}

fn for_moves(keys: &Value, more: &Value) -> Value {
    let mut keys = keys.clone();
    keys["updates_per_batch"] = json!(2);
    // Sums of tokens have larger gradients than means of them.
    keys["lr"] = json!(if keys["loss"]["type"] == "rloo" { 0.003 } else { 0.05 });
    keys["optimizer"] = json!({"eps": 1.0, "max_grad_norm": 0.0, "schedule": "constant"});
    for (key, value) in more.as_object().unwrap() {
        keys[key] = value.clone();
    }
    keys
}

fn moves_with(
    groups: &[ScoredGroup],
    name: &str,
    keys: &Value,
    ranks: Arc<Group>,
    shard: Shard,
) -> Vec<(String, Tensor)> {
    let mut model = open(name);
    let before: Vec<Tensor> = model.params().params().iter().map(|p| p.tensor.detach().copy()).collect();
    let mut optimizer =
        GrpoOptimizer::new(&phase(keys), &model, Seed::new(1)).unwrap().with_group(ranks, shard);
    let advantage: Arc<dyn AdvantageEstimator> = Arc::new(AboveMean);
    optimizer.share_advantage(&advantage);
    for _ in 0..2 {
        optimizer.update(&mut model, groups).unwrap();
    }
    let params = model.params().params().iter().zip(before);
    params.map(|(p, before)| (p.spec.name.clone(), p.tensor.detach() - before)).collect()
}

struct AboveMean;

impl AdvantageEstimator for AboveMean {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let mean = rewards.iter().sum::<f32>() / rewards.len() as f32;
        rewards.iter().map(|reward| reward - mean).collect()
    }
}

/// Every kind of loss and penalty, and every way in which micro-batches depend on each other.
fn kinds() -> Vec<(&'static str, Value)> {
    vec![
        ("tiny-vlm", json!({"kl_coef": 0.1, "entropy_coef": 0.01, "loss": {"type": "dapo"}})),
        ("qwen2-vl/model", json!({"loss": {"type": "gspo"}, "clip_low": 0.5, "clip_high": 0.5})),
        ("qwen3-vl/model", json!({"kl_coef": 0.1, "kl": {"place": "reward"}, "reference": {"type": "run"}})),
        ("tiny-vlm", json!({"loss": {"type": "rloo"}, "kl": {"estimator": "k1", "place": "token_reward"}})),
        (
            "tiny-vlm",
            json!({"loss": {"type": "sapo"}, "kl_coef": 0.1, "kl": {"by_difficulty": true, "gradient": "k2"},
                "reference": {"type": "ema", "mixup": 0.5, "every": 1}}),
        ),
        ("tiny-vlm", json!({"loss": {"type": "gmpo"}, "kl_coef": 0.0})),
        ("tiny-vlm", json!({"loss": {"type": "top_entropy", "share": 0.5}, "kl_coef": 0.0})),
        ("qwen2-vl/model", json!({"loss": {"type": "clip_cov", "share": 0.1, "low": 0.0}, "kl_coef": 0.0})),
        ("qwen3-vl/model", json!({"loss": {"type": "kl_cov", "share": 0.2}, "kl_coef": 0.0})),
    ]
}

#[test]
fn splits_and_recomputation_do_not_change_the_step() {
    for (name, keys) in kinds() {
        let whole = moves(name, &keys, &json!({}));
        for more in [json!({"micro_batch_tokens": 1}), json!({"recompute": true, "micro_batch_tokens": 1})] {
            // Four updates, each from the weights of the one before; 1.6e-4 on a CPU without AVX-512.
            assert_same(&moves(name, &keys, &more), &whole, 3e-4, 5e-7, &format!("{name} {keys} {more}"));
        }
    }
}

/// Ranks that are threads, each with a model of its own: the step of one rank, and equal bits on all.
#[test]
fn ranks_share_a_step() {
    for (name, keys) in kinds() {
        let whole = moves(name, &keys, &json!({}));
        for (size, more, shard) in [
            (2, json!({}), Shard::None),
            (3, json!({"micro_batch_tokens": 1, "recompute": true}), Shard::Optimizer),
            (5, json!({}), Shard::None),
        ] {
            let keys = for_moves(&keys, &more);
            let all = on_threads(size, Duration::from_secs(60), |ranks| {
                moves_with(&groups(), name, &keys, Arc::clone(ranks), shard)
            });
            let all = all.unwrap();
            for other in &all[1..] {
                assert!(all[0].iter().zip(other).all(|(a, b)| a.1.equal(&b.1)), "{name} {keys}");
            }
            // As for splits.
            assert_same(&all[0], &whole, 3e-4, 5e-7, &format!("{name} {keys}, {size} ranks"));
        }
    }
}

/// Answers whose tokens have no weight, masked or left out, are as if they had not been drawn, also where a loss looks at
/// the whole batch.
#[test]
fn answers_that_teach_nothing_take_no_part() {
    let cases = [
        json!({"kl_coef": 0.1, "entropy_coef": 0.01, "loss": {"type": "dapo"}}),
        json!({"kl_coef": 0.0, "loss": {"type": "top_entropy", "share": 0.5}}),
        json!({"kl_coef": 0.0, "loss": {"type": "clip_cov", "share": 0.1, "low": 0.0}}),
        json!({"kl_coef": 0.0, "loss": {"type": "kl_cov", "share": 0.2}}),
    ];
    for keys in cases {
        let mut short = groups();
        short[0].group.completions.pop();
        short[0].rewards.pop();
        short[0].advantages.pop();
        let without = moves_on(&short, "tiny-vlm", &keys, &json!({}));
        let change: [fn(&mut RewardParts); 2] =
            [|reward| reward.masked = true, |reward| reward.left_out = true];
        for change in change {
            let mut groups = groups();
            change(groups[0].rewards.last_mut().unwrap());
            for more in [json!({}), json!({"micro_batch_tokens": 1})] {
                let got = moves_on(&groups, "tiny-vlm", &keys, &more);
                // Four updates on batches of another shape: 3.1e-4 was seen.
                assert_same(&got, &without, 5e-4, 5e-7, &format!("{keys} {:?}", groups[0].rewards.last()));
            }
        }
        assert_ne!(moves_on(&groups(), "tiny-vlm", &keys, &json!({}))[0].1, without[0].1);
    }
}

/// PCGrad gets the gradient of each form, however the batch is split; with one form it changes nothing.
#[test]
fn parts_of_a_batch_are_taken_apart() {
    let moves = |forms: [Form; 3], more: &Value| {
        let mut keys = json!({"lr": 0.05, "kl_coef": 0.0,
            "optimizer": {"eps": 1.0, "max_grad_norm": 0.0, "schedule": "constant"}});
        for (key, value) in more.as_object().unwrap() {
            keys[key] = value.clone();
        }
        let mut groups = groups();
        for (group, form) in groups.iter_mut().zip(forms) {
            Arc::make_mut(&mut group.group.sample).form = form;
            if form == Form::Binary {
                // What the others want more of it wants less of.
                group.advantages.iter_mut().for_each(|advantage| *advantage = -*advantage);
            }
        }
        let mut model = open("tiny-vlm");
        let before: Vec<Tensor> = model.params().params().iter().map(|p| p.tensor.detach().copy()).collect();
        let mut optimizer = GrpoOptimizer::new(&phase(&keys), &model, Seed::new(1)).unwrap();
        let metrics = optimizer.update(&mut model, &groups).unwrap();
        let params = model.params().params().iter().zip(before);
        let moves = params.map(|(p, before)| (p.spec.name.clone(), p.tensor.detach() - before));
        (metrics.get("grpo/grad_norm").unwrap(), moves.collect::<Vec<_>>())
    };
    let one = [Form::Open; 3];
    let two = [Form::Open, Form::Binary, Form::Open];
    let pcgrad = json!({"gradient": {"type": "pcgrad", "between": "form"}});
    let (norm, plain) = moves(one, &json!({}));
    let (same_norm, same) = moves(one, &pcgrad);
    assert!((norm - same_norm).abs() < 1e-5 * norm, "{norm} {same_norm}");
    assert_same(&same, &plain, 3e-4, 5e-7, "one form");

    let (norm_of_parts, parts) = moves(two, &pcgrad);
    let mut split = pcgrad.clone();
    split["micro_batch_tokens"] = json!(1);
    assert_same(&moves(two, &split).1, &parts, 3e-4, 5e-7, "two forms, split");
    let (norm_of_whole, _) = moves(two, &json!({}));
    assert!((norm_of_whole - norm_of_parts).abs() > 1e-3 * norm_of_whole, "{norm_of_whole} {norm_of_parts}");
}
