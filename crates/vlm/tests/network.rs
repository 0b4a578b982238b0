//! The network against `transformers`: the golden files of `fixtures/generate/golden_vlm.py`, in fp32 on the CPU.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use reft_core::{ImageRef, ImageSize, ImageSource, Message, Part};
use reft_vlm::{Vlm, VlmOptions, checkpoint::read_tensors, processor::EncodedPrompt};
use serde::Deserialize;
use tch::{Kind, Tensor};

/// Largest difference of log-probs, features and logits (design.md section 8).
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Chat {
    name: String,
    messages: Vec<GoldenMessage>,
    token_ids: Vec<i64>,
    completion_ids: Option<Vec<i64>>,
}

#[derive(Deserialize)]
struct GoldenMessage {
    role: reft_core::Role,
    content: Vec<GoldenPart>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum GoldenPart {
    Text { text: String },
    Image { image: String },
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn model() -> Vlm {
    Vlm::open(&golden("tiny-vlm"), VlmOptions::default()).unwrap()
}

/// Messages whose images are files of `folder`.
fn to_messages(messages: &[GoldenMessage], folder: &Path) -> Vec<Message> {
    let part = |part: &GoldenPart| match part {
        GoldenPart::Text { text } => Part::Text(text.clone()),
        GoldenPart::Image { image } => {
            let path = folder.join(image);
            let (width, height) = image::image_dimensions(&path).unwrap();
            Part::Image(ImageRef {
                source: ImageSource::Path(path),
                size: ImageSize { width, height },
                label: Arc::from(image.as_str()),
            })
        }
    };
    let message = |m: &GoldenMessage| Message { role: m.role, content: m.content.iter().map(part).collect() };
    messages.iter().map(message).collect()
}

/// Chats that have model outputs, encoded.
fn chats(model: &Vlm) -> Vec<(Chat, EncodedPrompt)> {
    let chats: Vec<Chat> = serde_json::from_slice(&std::fs::read(golden("chats.json")).unwrap()).unwrap();
    let chats: Vec<_> = chats
        .into_iter()
        .filter(|c| c.completion_ids.is_some())
        .map(|c| (model.encode(&to_messages(&c.messages, &golden("images"))).unwrap(), c))
        .map(|(prompt, chat)| (chat, prompt))
        .collect();
    assert!(chats.len() >= 3, "one image, two images, text only");
    for (chat, prompt) in &chats {
        assert_eq!(prompt.token_ids, chat.token_ids, "{}", chat.name);
    }
    chats
}

fn outputs() -> BTreeMap<String, Tensor> {
    read_tensors(&golden("outputs.safetensors")).unwrap()
}

fn max_diff(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

fn logprobs(logits: &Tensor, ids: &[i64]) -> Tensor {
    logits.log_softmax(-1, Kind::Float).gather(1, &Tensor::from_slice(ids).unsqueeze(1), false).squeeze_dim(1)
}

#[test]
fn positions_are_the_references() {
    let model = model();
    let outputs = outputs();
    for (chat, prompt) in chats(&model) {
        let completion = chat.completion_ids.unwrap();
        // The whole completion is fed as a prompt would be; positions of fed tokens are what is compared.
        let batch = model.pack(&[(&prompt, vec![&completion])]);
        let expected = &outputs[&format!("positions.{}", chat.name)];
        let n = batch.n_tokens();
        assert!(batch.positions_3t.equal(&expected.narrow(1, 0, n)), "{}", chat.name);
    }
}

#[test]
fn logits_and_logprobs_are_the_references() {
    let model = model();
    let outputs = outputs();
    for (chat, prompt) in chats(&model) {
        let completion = chat.completion_ids.unwrap();
        let batch = model.pack(&[(&prompt, vec![&completion])]);
        let hidden = tch::no_grad(|| model.network().forward(&batch));
        let logits = model.network().decoder.logits(&hidden.index_select(0, &batch.predictors_c));
        let diff = max_diff(&logits, &outputs[&format!("logits.{}", chat.name)]);
        assert!(diff < TOLERANCE, "{}: logits differ by {diff}", chat.name);

        // Every token of prompt and completion, not only the predicted ones.
        let all: Vec<i64> = prompt.token_ids.iter().chain(&completion).copied().collect();
        let got = logprobs(&model.network().decoder.logits(&hidden), &all[1..]);
        let diff = max_diff(&got, &outputs[&format!("logprobs.{}", chat.name)]);
        assert!(diff < TOLERANCE, "{}: log-probs differ by {diff}", chat.name);
    }
}

#[test]
fn vision_features_are_the_references() {
    let model = model();
    let outputs = outputs();
    for (_, prompt) in chats(&model) {
        for image in &prompt.images {
            let features = tch::no_grad(|| model.network().vision.forward(&image.pixels, &[image.grid]));
            let closest = outputs
                .iter()
                .filter(|(name, t)| name.starts_with("vision.") && t.size() == features.size())
                .map(|(_, expected)| max_diff(&features, expected))
                .fold(f64::INFINITY, f64::min);
            assert!(closest < TOLERANCE, "features differ by {closest}");
        }
    }
}

/// Several prompts with several completions in one pass give what each gives alone: packing, shared prompts and padding
/// inside attention change nothing.
#[test]
fn packed_groups_equal_single_sequences() {
    let model = model();
    let chats = chats(&model);
    let completions: Vec<Vec<Vec<i64>>> = chats
        .iter()
        .enumerate()
        .map(|(i, (chat, _))| {
            let ids = chat.completion_ids.clone().unwrap();
            vec![ids.clone(), ids[..1].to_vec(), ids.iter().rev().copied().take(3 + i).collect()]
        })
        .collect();
    let groups: Vec<_> = chats
        .iter()
        .zip(&completions)
        .map(|((_, p), c)| (p, c.iter().map(Vec::as_slice).collect()))
        .collect();
    let packed = model.pack(&groups);
    let hidden = tch::no_grad(|| model.network().forward(&packed)).index_select(0, &packed.predictors_c);

    let mut first = 0;
    for (prompt, completions) in groups {
        for completion in completions {
            let alone = model.pack(&[(prompt, vec![completion])]);
            let expected =
                tch::no_grad(|| model.network().forward(&alone)).index_select(0, &alone.predictors_c);
            let n = completion.len() as i64;
            let diff = max_diff(&hidden.narrow(0, first, n), &expected);
            assert!(diff < 1e-5, "packed differs by {diff}");
            first += n;
        }
    }
    assert_eq!(first, packed.targets_c.size()[0]);
}

#[test]
fn gradients_are_the_references() {
    let model = model();
    model.set_trainable(|_| true);
    let chats = chats(&model);
    let completions: Vec<Vec<i64>> = chats.iter().map(|(c, _)| c.completion_ids.clone().unwrap()).collect();
    let groups: Vec<_> = chats.iter().zip(&completions).map(|((_, p), c)| (p, vec![c.as_slice()])).collect();
    let batch = model.pack(&groups);
    let hidden = model.network().forward(&batch).index_select(0, &batch.predictors_c);
    let logits = model.network().decoder.logits(&hidden);
    logits
        .log_softmax(-1, Kind::Float)
        .gather(1, &batch.targets_c.unsqueeze(1), false)
        .sum(Kind::Float)
        .backward();

    let expected = read_tensors(&golden("gradients.safetensors")).unwrap();
    for param in model.params().params() {
        let reference = &expected[&param.spec.name];
        let scale = reference.abs().max().double_value(&[]).max(1e-3);
        let diff = max_diff(&param.tensor.grad(), reference) / scale;
        assert!(diff < TOLERANCE, "{}: relative gradient difference {diff}", param.spec.name);
    }
    assert_eq!(expected.len(), model.params().params().len());
}

/// The shipped model on real digits. Rows of `chats.jsonl` are prompts with a written completion.
#[test]
fn pico_is_the_references() {
    #[derive(Deserialize)]
    struct Row {
        messages: Vec<GoldenMessage>,
        completion: String,
    }
    let pico = Vlm::open(&golden("../pico-vlm"), VlmOptions::default()).unwrap();
    let expected = read_tensors(&golden("pico/chats.safetensors")).unwrap();
    let rows = std::fs::read_to_string(golden("pico/chats.jsonl")).unwrap();
    for (i, line) in rows.lines().enumerate() {
        let row: Row = serde_json::from_str(line).unwrap();
        let prompt = pico.encode(&to_messages(&row.messages, &golden("pico"))).unwrap();
        let completion = pico.processor().encode_completion(&row.completion, true).unwrap();
        let all: Vec<i64> = prompt.token_ids.iter().chain(&completion).copied().collect();
        assert_eq!(Vec::<i64>::try_from(&expected[&format!("token_ids.{i}")]).unwrap(), all);

        let batch = pico.pack(&[(&prompt, vec![&completion])]);
        let hidden = tch::no_grad(|| pico.network().forward(&batch));
        let logits = pico.network().decoder.logits(&hidden.index_select(0, &batch.predictors_c));
        let diff = max_diff(&logits, &expected[&format!("logits.{i}")]);
        assert!(diff < TOLERANCE, "row {i}: logits differ by {diff}");
        let got = logprobs(&pico.network().decoder.logits(&hidden), &all[1..]);
        let diff = max_diff(&got, &expected[&format!("logprobs.{i}")]);
        assert!(diff < TOLERANCE, "row {i}: log-probs differ by {diff}");
    }
}
