//! The engine on the tiny random checkpoints of `fixtures/golden`.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use reft_core::{
    Completion, FinishReason, Group, ImageRef, ImageSize, ImageSource, Limit, Part, RolloutEngine, Sample,
    SamplingParams, Seed, StageError,
};
use reft_rollout::GenerationEngine;
use reft_testkit::chat as sample;
use reft_vlm::{Vlm, VlmOptions, lora::LoraOption, model::Family};
use serde_json::Value;
use tch::{Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn model() -> Vlm {
    Vlm::open(&golden("tiny-vlm"), VlmOptions::default()).unwrap()
}

/// A checkpoint of every family with the file of its chats.
fn families() -> impl Iterator<Item = (Vlm, PathBuf)> {
    let folders = [
        ("tiny-vlm", "chats.json"),
        ("qwen2-vl/model", "qwen2-vl/chats.json"),
        ("qwen3-vl/model", "qwen3-vl/chats.json"),
        ("qwen3_5/model", "qwen3_5/chats.json"),
        ("smolvlm/model", "smolvlm/chats.json"),
        ("internvl-qwen2/model", "internvl-qwen2/chats.json"),
        ("internvl-qwen3/model", "internvl-qwen3/chats.json"),
    ];
    folders
        .into_iter()
        .map(|(model, chats)| (Vlm::open(&golden(model), VlmOptions::default()).unwrap(), golden(chats)))
}

fn image(file: &str) -> Part {
    let (width, height) = match file {
        "photo.png" => (85, 62),
        "../sizes/wide.png" => (150, 12),
        _ => (20, 11),
    };
    Part::Image(ImageRef {
        source: ImageSource::Path(golden("images").join(file)),
        size: ImageSize { width, height },
        label: Arc::from(file),
    })
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

/// Prompts of different lengths: none, one and two images.
fn samples() -> Vec<Arc<Sample>> {
    vec![
        sample("text", vec![text("What is 2 + 3?")]),
        sample("photo", vec![image("photo.png"), text("Is it a cat?")]),
        sample("both", vec![image("small_rgba.png"), text("or\n"), image("photo.png"), text("?")]),
        sample("small", vec![image("small_rgba.png")]),
        sample("other text", vec![text("Count to ten, then answer.")]),
    ]
}

fn params(group_size: usize, max_new_tokens: usize) -> SamplingParams {
    SamplingParams { group_size, seed: Seed::new(5).at("test"), ..SamplingParams::plain(max_new_tokens) }
}

fn generate(model: &Vlm, samples: &[Arc<Sample>], params: &SamplingParams) -> Vec<Group> {
    generate_by(GenerationEngine::default(), model, samples, params)
}

fn generate_by(
    mut engine: GenerationEngine,
    model: &Vlm,
    samples: &[Arc<Sample>],
    params: &SamplingParams,
) -> Vec<Group> {
    engine.generate(model, samples, params, &mut |_, _| true).unwrap()
}

fn tokens(group: &Group) -> Vec<Vec<i64>> {
    group.completions.iter().map(|c| c.token_ids.clone()).collect()
}

/// Largest difference of the log-probs of two answers to one question.
fn logprob_gap(a: &Group, b: &Group) -> f32 {
    let of =
        |group: &Group| -> Vec<f32> { group.completions.iter().flat_map(|c| c.logprobs.clone()).collect() };
    of(a).iter().zip(of(b)).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn greedy_equals_the_reference() {
    for (model, chats) in families() {
        let chats: Value = serde_json::from_slice(&fs::read(chats).unwrap()).unwrap();
        let mut n = 0;
        for chat in chats.as_array().unwrap().iter().filter(|chat| chat["greedy_ids"].is_array()) {
            let parts = chat["messages"][0]["content"].as_array().unwrap().iter();
            let parts = parts.map(|part| match part["image"].as_str() {
                Some(file) => image(file),
                None => text(part["text"].as_str().unwrap()),
            });
            let groups = generate(&model, &[sample("greedy", parts.collect())], &SamplingParams::greedy(12));
            let completion = &groups[0].completions[0];
            let expected: Vec<i64> = serde_json::from_value(chat["greedy_ids"].clone()).unwrap();
            assert_eq!(completion.token_ids, expected, "{:?} {}", model.config().family, chat["name"]);
            let expected: Vec<f32> = serde_json::from_value(chat["greedy_logprobs"].clone()).unwrap();
            for (found, expected) in completion.logprobs.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
            }
            n += 1;
        }
        assert_eq!(n, if model.processor().budget().is_some() { 3 } else { 4 });
    }
}

/// The log-probs captured while decoding with the cache are those of one packed forward over prompt and completions:
/// every family, with and without an adapter, by kernels and by tensor operations.
#[test]
fn decoding_equals_the_full_forward() {
    let adapted = ["tiny-vlm", "qwen2-vl", "qwen3-vl"].map(|name| {
        let base = if name == "tiny-vlm" { golden(name) } else { golden(name).join("model") };
        let dir = golden("lora").join(name);
        let lora = Some(LoraOption::Folder { dir, dropout: None, seed: Seed::new(0) });
        Vlm::open(&base, VlmOptions { lora, ..VlmOptions::default() }).unwrap()
    });
    let models = families().map(|(model, _)| model).chain(adapted);
    for model in models {
        decoding_equals_the_full_forward_of(&model, GenerationEngine::default());
        decoding_equals_the_full_forward_of(&model, GenerationEngine::default().without_kernels());
    }
}

fn decoding_equals_the_full_forward_of(model: &Vlm, engine: GenerationEngine) {
    let family = (model.config().family, model.lora().is_some());
    // Long enough to grow the cache twice; completions end at different lengths, so the batch is compacted.
    let groups = generate_by(engine, model, &samples(), &params(6, 80));
    let lengths: Vec<usize> =
        groups.iter().flat_map(|g| g.completions.iter().map(|c| c.token_ids.len())).collect();
    assert!(lengths.iter().any(|&l| l < 70) && lengths.contains(&80), "{family:?} {lengths:?}");

    let _no_grad = tch::no_grad_guard();
    let prompts: Vec<_> = groups.iter().map(|g| model.encode(&g.sample.messages).unwrap()).collect();
    let owned: Vec<Vec<Vec<i64>>> = groups.iter().map(tokens).collect();
    let packed: Vec<_> =
        prompts.iter().zip(&owned).map(|(p, c)| (p, c.iter().map(Vec::as_slice).collect())).collect();
    let batch = model.pack(&packed);
    let hidden = model.network().forward(&batch).index_select(0, &batch.predictors_c);
    let logits = model.network().decoder.logits(&hidden) + model.allowed_tokens();
    let logprobs =
        logits.log_softmax(-1, Kind::Float).gather(1, &batch.targets_c.unsqueeze(1), false).squeeze_dim(1);

    let captured: Vec<f32> =
        groups.iter().flat_map(|g| &g.completions).flat_map(|c| c.logprobs.clone()).collect();
    let gap = (logprobs - Tensor::from_slice(&captured)).abs();
    let (worst, mean) = (gap.max().double_value(&[]), gap.mean(Kind::Double).double_value(&[]));
    // Rounding of fp32 alone: the worst of two thousand tokens of a model with large logits. Tensor operations reach 7e-5
    // at one of them on a CPU without AVX-512, kernels 2e-5.
    let (most, most_on_average) = match family.0 {
        // Chunks and steps round differently, and later tokens build on the state: on this checkpoint the reference's own
        // two ways differ by 1.4e-4 at the worst of 1,400 tokens, and by 2e-6 to 8e-6 on average.
        Family::Qwen3_5 => (1e-3, 8e-6),
        _ => (1e-4, 3e-6),
    };
    assert!(worst < most && mean < most_on_average, "{family:?}: worst {worst}, mean {mean}");
}

#[test]
fn what_is_drawn_does_not_depend_on_the_batch() {
    let all = SamplingParams {
        temperature: 0.9,
        top_k: 60,
        top_p: 0.95,
        min_p: 0.01,
        repetition_penalty: 1.1,
        presence_penalty: 0.2,
        frequency_penalty: 0.1,
        min_new_tokens: 9,
        stop: vec!["e".into()],
        banned: vec!["a".into()],
        ..params(4, 40)
    };
    for params in [params(4, 40), all] {
        does_not_depend_on_the_batch(params);
    }
}

fn does_not_depend_on_the_batch(params: SamplingParams) {
    let (model, samples) = (model(), samples());
    let together = generate(&model, &samples, &params);
    assert_eq!(together, generate(&model, &samples, &params), "the same call gives the same bits");

    let same = |others: &BTreeMap<String, Group>, what: &str| {
        for group in &together {
            let other = &others[group.sample.id.as_str()];
            assert_eq!(tokens(group), tokens(other), "{what}: {}", group.sample.id);
            let gap = logprob_gap(group, other);
            // Rounding: products of other shapes add up in another order.
            assert!(gap < 3e-5, "{what}: {gap}");
        }
    };
    let by_id = |groups: Vec<Group>| groups.into_iter().map(|g| (g.sample.id.to_string(), g)).collect();
    let alone = samples.iter().flat_map(|s| generate(&model, &[Arc::clone(s)], &params)).collect();
    same(&by_id(alone), "alone");
    let reversed: Vec<_> = samples.iter().rev().cloned().collect();
    same(&by_id(generate(&model, &reversed, &params)), "reversed");
    let mut frugal = GenerationEngine::with_token_budget(600);
    same(&by_id(frugal.generate(&model, &samples, &params, &mut |_, _| true).unwrap()), "in chunks");

    // As many tokens by the memory that a recipe gives: keys and values of every layer in fp32.
    let text = &model.config().text;
    let bytes = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * 4;
    let options = VlmOptions { kv_memory: Some(600 * bytes as u64 + 1), ..VlmOptions::default() };
    let frugal = Vlm::open(&golden("tiny-vlm"), options).unwrap();
    assert_eq!(frugal.kv_tokens(), Some(600));
    same(&by_id(generate(&frugal, &samples, &params)), "within its memory");

    // Fewer completions are the first ones of more.
    // Each completion has random numbers of its own.
    for group in &together {
        let different: std::collections::BTreeSet<_> = tokens(group).into_iter().collect();
        assert_eq!(different.len(), 4, "{}", group.sample.id);
    }
    let fewer = generate(&model, &samples, &SamplingParams { group_size: 2, ..params });
    for (few, many) in fewer.iter().zip(&together) {
        assert_eq!(tokens(few), tokens(many)[..2]);
    }
}

#[test]
fn completions_end_at_an_end_token_or_at_the_limit() {
    let model = model();
    let groups = generate(&model, &samples(), &params(32, 24));
    let end_ids = model.processor().end_token_ids();
    let mut n_stopped = 0;
    for completion in groups.iter().flat_map(|g| &g.completions) {
        let (last, before) = completion.token_ids.split_last().unwrap();
        assert!(!before.iter().any(|id| end_ids.contains(id)));
        assert_eq!(completion.token_ids.len(), completion.logprobs.len());
        assert_eq!(completion.finish == FinishReason::Stop, end_ids.contains(last));
        assert!(completion.finish == FinishReason::Stop || completion.token_ids.len() == 24);
        assert!(!completion.text.contains("<|im_end|>") && !completion.text.contains("<|endoftext|>"));
        n_stopped += usize::from(completion.finish == FinishReason::Stop);
    }
    assert!((1..160).contains(&n_stopped), "{n_stopped} of 160 stopped");
    for (group, sample) in groups.iter().zip(samples()) {
        assert_eq!((&group.sample, group.completions.len()), (&sample, 32));
        assert_eq!(group.prompt_tokens, model.encode(&sample.messages).unwrap().token_ids.len());
    }
}

#[test]
fn stop_strings_end_a_completion_and_stay_in_it() {
    let model = model();
    let plain = generate(&model, &samples(), &params(16, 40));
    let stop = vec!["e".to_owned(), "12".to_owned()];
    let stopped = generate(&model, &samples(), &SamplingParams { stop: stop.clone(), ..params(16, 40) });
    let late = SamplingParams { stop: stop.clone(), min_new_tokens: 30, ..params(16, 40) };
    let late = generate(&model, &samples(), &late);
    let has_stop = |text: &str| stop.iter().any(|stop| text.contains(stop.as_str()));
    let completions =
        |groups: &[Group]| groups.iter().flat_map(|g| g.completions.clone()).collect::<Vec<_>>();
    let (mut n_cut, mut n_late) = (0, 0);
    for (stopped, plain) in completions(&stopped).iter().zip(completions(&plain)) {
        // The same tokens as without stop strings, up to the one that completes the first.
        let n = stopped.token_ids.len();
        assert_eq!(
            (&stopped.token_ids[..], &stopped.logprobs[..]),
            (&plain.token_ids[..n], &plain.logprobs[..n])
        );
        let before = model.processor().decode(&stopped.token_ids[..n - 1]);
        assert!(!has_stop(&before), "{before:?}");
        if has_stop(&stopped.text) {
            assert_eq!(stopped.finish, FinishReason::Stop);
            n_cut += 1;
        } else {
            assert_eq!(stopped, &plain);
        }
    }
    for completion in completions(&late) {
        assert!(completion.token_ids.len() >= 30);
        n_late += usize::from(completion.finish == FinishReason::Stop && has_stop(&completion.text));
    }
    assert!(n_cut > 10 && n_late > 10, "{n_cut} and {n_late} of 80");
}

#[test]
fn support_is_recorded_where_something_is_out_of_reach() {
    let model = model();
    let plain = generate(&model, &samples(), &params(4, 12));
    assert!(plain.iter().flat_map(|g| &g.completions).all(|c| c.support.is_none()));
    let few = generate(&model, &samples(), &SamplingParams { top_k: 5, ..params(4, 12) });
    for completion in few.iter().flat_map(|g| &g.completions) {
        let support = completion.support.as_ref().unwrap();
        assert_eq!(support.len(), completion.token_ids.len());
        for (t, &token) in completion.token_ids.iter().enumerate() {
            let Limit::Kept(ids) = support.get(t) else { panic!("{support:?}") };
            assert!(ids.len() == 5 && ids.contains(&(token as u32)));
        }
        // What a checkpoint or a kept batch makes of it.
        let text = serde_json::to_string(completion).unwrap();
        assert_eq!(&serde_json::from_str::<Completion>(&text).unwrap(), completion);
    }
    let banned = SamplingParams { banned: vec!["a".into()], ..params(4, 12) };
    let id = model.processor().encode_completion("a", false).unwrap()[0];
    for completion in generate(&model, &samples(), &banned).iter().flat_map(|g| &g.completions) {
        assert!(!completion.token_ids.contains(&id));
        assert_eq!(completion.support.as_ref().unwrap().get(0), Limit::Dropped(&[id as u32][..]));
    }
    let error = SamplingParams { banned: vec!["two words".into()], ..params(4, 12) };
    let error =
        GenerationEngine::default().generate(&model, &samples(), &error, &mut |_, _| true).unwrap_err();
    assert!(error.to_string().contains("`two words`"), "{error}");
}

#[test]
fn control_tokens_are_never_sampled() {
    let model = model();
    let hot = SamplingParams { temperature: 100.0, ..params(32, 24) };
    let control = model.processor().control_token_ids();
    let groups = generate(&model, &samples(), &hot);
    let mut seen = std::collections::BTreeSet::new();
    for completion in groups.iter().flat_map(|g| &g.completions) {
        seen.extend(completion.token_ids.iter().copied());
        assert!(completion.token_ids.iter().all(|id| !control.contains(id)));
        // Nearly uniform over the 314 tokens that are left of 320.
        assert!(completion.logprobs.iter().all(|p| (p + 314_f32.ln()).abs() < 0.5));
    }
    assert!(seen.len() > 290, "{} different tokens", seen.len());
}

#[test]
fn progress_counts_completions_and_can_stop_the_call() {
    let model = model();
    let mut calls = Vec::new();
    let mut engine = GenerationEngine::with_token_budget(600);
    engine
        .generate(&model, &samples(), &params(4, 8), &mut |done, total| {
            calls.push((done, total));
            true
        })
        .unwrap();
    assert!(calls.is_sorted() && calls.last() == Some(&(20, 20)), "{calls:?}");
    let stopped = engine.generate(&model, &samples(), &params(4, 8), &mut |_, _| false);
    assert!(matches!(stopped, Err(StageError::Interrupted)));
}

#[test]
fn the_context_bounds_prompt_and_completion_together() {
    let model = model();
    let prompt = |n: usize| sample("long", vec![text(&"7 ".repeat(n))]);
    let length = |n: usize| model.encode(&prompt(n).messages).map(|p| p.token_ids.len());
    let limit = model.processor().context_limit();
    // The longest prompt of this kind that leaves room; one number takes two tokens.
    let n = (1..limit).take_while(|&n| length(n).is_ok_and(|l| l < limit)).last().unwrap();
    let room = limit - length(n).unwrap();
    let groups = generate(&model, &[prompt(n)], &params(4, 100));
    assert!(groups[0].completions.iter().all(|c| c.token_ids.len() <= room));
    assert!(groups[0].completions.iter().any(|c| c.finish == FinishReason::Length));

    let error = GenerationEngine::default()
        .generate(&model, &[prompt(limit)], &params(1, 1), &mut |_, _| true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`long`") && error.contains(&limit.to_string()), "{error}");
}

#[test]
fn empty_requests_are_refused() {
    let model = model();
    for (group_size, max_new_tokens) in [(0, 8), (4, 0)] {
        let call = params(group_size, max_new_tokens);
        let error =
            GenerationEngine::default().generate(&model, &samples(), &call, &mut |_, _| true).unwrap_err();
        assert!(error.to_string().contains("rollout"), "{error}");
    }
    assert!(generate(&model, &[], &params(1, 1)).is_empty());
}
