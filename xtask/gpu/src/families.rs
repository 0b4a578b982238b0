//! The golden checkpoint of a family on a device against fp32 on the CPU: log-probabilities, and what a `grpo` step learns.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail};
use curr_reft::{
    config::GrpoPhase,
    core::{
        BoxFrame, Completion, FinishReason, Form, Group, ImageRef, ImageSize, ImageSource, Message, Part,
        PolicyOptimizer as _, RewardParts, Role, Sample, ScoredGroup, Seed, Task, Verdict,
    },
    grpo::GrpoOptimizer,
    trainer::token_logprobs,
    vlm::{Vlm, VlmOptions, model::Distribution},
};
use serde_json::json;
use tch::{Device, Kind, Tensor};

/// Folders of `fixtures/golden`.
pub(crate) const ALL: [&str; 3] = ["tiny-vlm", "qwen2-vl/model", "qwen3-vl/model"];

/// How far numbers are from those of fp32 on the CPU.
#[derive(Clone, Copy)]
struct Off {
    /// Mean difference of a log-probability.
    logprob: f64,
    /// Difference of the gradient's norm, in parts of it.
    norm: f64,
}

/// What fp32 on the device may round otherwise in another order.
const IN_FP32: Off = Off { logprob: 1e-4, norm: 1e-3 };

/// How far the device is from fp32 on the CPU: in fp32 by rounding in another order, in bf16 by at most twice what bf16 is
/// off on the CPU.
pub(crate) fn check(family: &str, kind: Kind, device: Device) -> Result<String> {
    let exact = outcome(family, Kind::Float, Device::Cpu)?;
    let off = |(logprob_c, norm): (Tensor, f64)| Off {
        logprob: (logprob_c - &exact.0).abs().mean(Kind::Double).double_value(&[]),
        norm: (norm / exact.1 - 1.0).abs(),
    };
    let most = if kind == Kind::Float {
        IN_FP32
    } else {
        let on_cpu = off(outcome(family, kind, Device::Cpu)?);
        Off { logprob: 2.0 * on_cpu.logprob, norm: 2.0 * on_cpu.norm.max(IN_FP32.norm) }
    };
    let found = off(outcome(family, kind, device)?);
    let words = format!(
        "log-probabilities differ by {:.1e} (at most {:.0e}), the gradient's norm by {:.1e} of it (at most {:.0e})",
        found.logprob, most.logprob, found.norm, most.norm
    );
    // Not `>`: what is not a number is wrong too.
    if !(found.logprob <= most.logprob && found.norm <= most.norm) {
        bail!("{words}");
    }
    Ok(words)
}

/// `[c]` log-probabilities of all answers on the CPU in fp32, and the norm of the gradient of a step.
fn outcome(family: &str, kind: Kind, device: Device) -> Result<(Tensor, f64)> {
    let folder = Path::new("fixtures/golden").join(family);
    let options = VlmOptions { kind, device, ..VlmOptions::default() };
    let mut model = Vlm::open(&folder, options)?;
    let groups = groups();
    let prompts = groups
        .iter()
        .map(|scored| model.encode(&scored.group.sample.messages))
        .collect::<Result<Vec<_>, _>>()?;
    let answers = |scored: &ScoredGroup| {
        scored.group.completions.iter().map(|completion| completion.token_ids.clone()).collect::<Vec<_>>()
    };
    let answers: Vec<Vec<Vec<i64>>> = groups.iter().map(answers).collect();
    let packed: Vec<_> = prompts
        .iter()
        .zip(&answers)
        .map(|(prompt, answers)| (prompt, answers.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        .collect();
    let batch = model.pack(&packed);
    let logprob_c = token_logprobs(model.network(), &batch, Distribution::whole(model.allowed_tokens()));

    let phase: GrpoPhase = serde_json::from_value(json!({
        "name": "check", "data": "none", "steps": 2, "kl_coef": 0.1, "optimizer": {"max_grad_norm": 0.0},
    }))?;
    let mut optimizer = GrpoOptimizer::new(&phase, &model, Seed::new(1))?;
    let metrics = optimizer.update(&mut model, &groups)?;
    let norm = metrics.get("grpo/grad_norm").context("the step has no gradient norm")?;
    Ok((logprob_c.to_device(Device::Cpu).to_kind(Kind::Float), norm))
}

/// Two questions with an image and one without, two answers each.
fn groups() -> Vec<ScoredGroup> {
    let image = || {
        Part::Image(ImageRef {
            source: ImageSource::Path("fixtures/golden/images/photo.png".into()),
            size: ImageSize { width: 85, height: 62 },
            label: Arc::from("photo.png"),
        })
    };
    let text = |text: &str| Part::Text(text.into());
    let questions = [
        vec![image(), text("Is it a cat?")],
        vec![text("What is 2 + 3?")],
        vec![text("Look: "), image(), text("How many?")],
    ];
    let group = |(i, content): (i64, Vec<Part>)| {
        let answer = |m: i64| {
            let token_ids: Vec<i64> =
                (0..4 + 3 * m + i).map(|t| 256 + (7 * i + 5 * m + 3 * t) % 40).collect();
            Completion {
                text: String::new(),
                logprobs: vec![-1.0; token_ids.len()],
                token_ids,
                finish: FinishReason::Length,
                think_opened: false,
                support: None,
            }
        };
        let sample = Sample {
            id: format!("q{i}").into(),
            task: Task::Math,
            form: Form::Open,
            problem: String::new(),
            messages: vec![Message { role: Role::User, content }],
            solution: String::new(),
            box_frame: BoxFrame::Original,
            parent: None,
        };
        ScoredGroup {
            group: Group {
                sample: Arc::new(sample),
                prompt_tokens: 0,
                completions: vec![answer(0), answer(1)],
                policy_version: None,
                temperature: None,
            },
            rewards: vec![RewardParts::default(); 2],
            advantages: vec![1.0, -0.7],
            verdict: Verdict::Admit,
        }
    };
    (0..).zip(questions).map(group).collect()
}
