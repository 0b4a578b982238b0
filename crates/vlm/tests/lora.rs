//! Adapters against PEFT (`fixtures/generate/golden_lora.py`), and what an adapter must leave alone.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use reft_core::{Checkpointed as _, ImageRef, ImageSize, ImageSource, Message, Part, Role, Seed};
use reft_vlm::{
    Vlm, VlmOptions,
    checkpoint::read_tensors,
    lora::{LoraOption, LoraSettings, LoraTargets},
    model::{Network, PackedBatch, PartOfModel, canonical_name},
    processor::EncodedPrompt,
};
use serde_json::Value;
use tch::{Kind, Tensor};

/// Folders of the adapters, of their base models, and of the golden chats.
const FAMILIES: [(&str, &str, &str); 6] = [
    ("tiny-vlm", "tiny-vlm", "."),
    ("qwen2-vl", "qwen2-vl/model", "qwen2-vl"),
    ("qwen3-vl", "qwen3-vl/model", "qwen3-vl"),
    ("qwen3_5", "qwen3_5/model", "qwen3_5"),
    ("smolvlm", "smolvlm/model", "smolvlm"),
    ("internvl-qwen3", "internvl-qwen3/model", "internvl-qwen3"),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn adapter(name: &str) -> PathBuf {
    golden("lora").join(name)
}

fn open(base: &str, lora: impl Into<Option<LoraOption>>) -> Vlm {
    Vlm::open(&golden(base), VlmOptions { lora: lora.into(), ..VlmOptions::default() }).unwrap()
}

fn folder(name: &str) -> LoraOption {
    LoraOption::Folder { dir: adapter(name), dropout: None, seed: Seed::new(3) }
}

fn new(settings: LoraSettings) -> LoraOption {
    LoraOption::New { settings, seed: Seed::new(3) }
}

/// The chats with completions: name, prompt, completion.
fn chats(model: &Vlm, files: &str) -> Vec<(String, EncodedPrompt, Vec<i64>)> {
    let text = fs::read(golden(files).join("chats.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let part = |part: &Value| match part["image"].as_str() {
        None => Part::Text(part["text"].as_str().unwrap().into()),
        Some(file) => {
            let path = golden("images").join(file);
            let (width, height) = image::image_dimensions(&path).unwrap();
            Part::Image(ImageRef {
                source: ImageSource::Path(path),
                size: ImageSize { width, height },
                label: Arc::from(file),
            })
        }
    };
    rows.iter()
        // Sizes are no matter of adapters, and golden_lora.py leaves them out.
        .filter(|row| row.get("completion_ids").is_some() && row["name"] != "sizes")
        .map(|row| {
            let turns = row["messages"].as_array().unwrap().iter();
            let messages: Vec<Message> = turns
                .map(|turn| Message {
                    role: Role::User,
                    content: turn["content"].as_array().unwrap().iter().map(part).collect(),
                })
                .collect();
            let completion = serde_json::from_value(row["completion_ids"].clone()).unwrap();
            (row["name"].as_str().unwrap().to_owned(), model.encode(&messages).unwrap(), completion)
        })
        .collect()
}

/// `[c, vocab]` logits of the completions' tokens.
fn logits(network: &Network, batch: &PackedBatch) -> Tensor {
    network.decoder.logits(&network.forward(batch).index_select(0, &batch.predictors_c))
}

fn max_diff(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

fn target_logprobs(logits: &Tensor, batch: &PackedBatch) -> Tensor {
    logits.log_softmax(-1, Kind::Float).gather(1, &batch.targets_c.unsqueeze(1), false).squeeze_dim(1)
}

/// All chats of a family in one pass.
fn packed(model: &Vlm, files: &str) -> PackedBatch {
    let chats = chats(model, files);
    let groups: Vec<_> = chats.iter().map(|(_, prompt, ids)| (prompt, vec![ids.as_slice()])).collect();
    model.pack(&groups)
}

#[test]
fn logits_and_gradients_are_pefts() {
    for (name, base, files) in FAMILIES {
        let model = open(base, folder(name));
        let golden = read_tensors(&adapter(name).join("outputs.safetensors")).unwrap();
        for (chat, prompt, ids) in chats(&model, files) {
            let batch = model.pack(&[(&prompt, vec![&ids])]);
            let ours = tch::no_grad(|| logits(model.network(), &batch));
            let diff = max_diff(&ours, &golden[&format!("logits.{chat}")]);
            assert!(diff < 1e-4, "{name} {chat}: logits differ by {diff}");
            let theirs = &golden[&format!("logprobs.{chat}")];
            let theirs = theirs.narrow(0, prompt.token_ids.len() as i64 - 1, ids.len() as i64);
            let diff = max_diff(&target_logprobs(&ours, &batch), &theirs);
            assert!(diff < 1e-4, "{name} {chat}: log-probs differ by {diff}");
        }

        model.set_trainable(|_| true);
        let batch = packed(&model, files);
        target_logprobs(&logits(model.network(), &batch), &batch).sum(Kind::Float).backward();
        let params = model.learned().params();
        let gradients: BTreeMap<String, &Tensor> = golden
            .iter()
            .filter_map(|(key, gradient)| {
                Some((canonical_name(key.strip_prefix("grad.base_model.model.")?), gradient))
            })
            .collect();
        assert_eq!(params.len(), gradients.len(), "{name}");
        for param in params {
            let key = &param.spec.name;
            let theirs = gradients[key];
            let scale = theirs.abs().max().double_value(&[]).max(1e-3);
            let diff = max_diff(&model.learned().grad(param), theirs) / scale;
            assert!(diff < 1e-4, "{name} {key}: relative gradient difference {diff}");
        }
        // Nothing else has one.
        assert!(model.params().params().iter().all(|param| !model.params().grad(param).defined()), "{name}");
    }
}

/// Switched off, fresh, or on: the same bits as the base, the same bits as the base, and the merged weights.
#[test]
fn off_is_the_base_and_merged_is_on() {
    for (name, base, files) in FAMILIES {
        let plain = open(base, None);
        let batch = packed(&plain, files);
        let run = |network: &Network| tch::no_grad(|| logits(network, &batch));
        let expected = run(plain.network());

        let adapted = open(base, folder(name));
        let on = run(adapted.network());
        assert!(max_diff(&on, &expected) > 0.1, "{name}: the adapter does nothing");
        let off = adapted.without_adapter().unwrap();
        assert!(run(off.network()).equal(&expected), "{name}: switched off");
        assert_eq!(off.params().numel(), 0);
        assert!(run(adapted.freeze().network()).equal(&on), "{name}: frozen as it is");
        assert!(run(open(base, new(LoraSettings::default())).network()).equal(&expected), "{name}: fresh");

        let dir = tempfile::tempdir().unwrap();
        adapted.save_as(dir.path(), Kind::Float).unwrap();
        let merged = Vlm::open(dir.path(), VlmOptions::default()).unwrap();
        let diff = max_diff(&run(merged.network()), &on);
        assert!(diff < 1e-5 * on.abs().max().double_value(&[]).max(1.0), "{name}: merged differs by {diff}");
        // What has no adapter keeps its bits.
        for (before, after) in plain.params().params().iter().zip(merged.params().params()) {
            let name_of_a = before.spec.name.replace(".weight", ".lora_A.weight");
            let is_adapted = before.spec.name.ends_with(".weight")
                && adapted.learned().params().iter().any(|param| param.spec.name == name_of_a);
            assert_eq!(before.tensor.equal(&after.tensor), !is_adapted, "{name} {}", before.spec.name);
        }
    }
}

/// Saved folders hold PEFT's own names and bits, and continue where they stood; an adapter folder opens by itself.
#[test]
fn folders_come_back() {
    for (name, base, files) in FAMILIES {
        let model = open(base, folder(name));
        let dir = tempfile::tempdir().unwrap();
        model.save(dir.path()).unwrap();
        let read = |dir: &Path| read_tensors(&dir.join("adapter_model.safetensors")).unwrap();
        let (ours, theirs): (BTreeMap<_, _>, BTreeMap<_, _>) = (read(dir.path()), read(&adapter(name)));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
        assert!(ours.iter().all(|(key, tensor)| tensor.equal(&theirs[key])), "{name}");

        // Its base is named by the path it was opened with.
        let again = Vlm::open(dir.path(), VlmOptions::default()).unwrap();
        let (before, after) = (model.lora().unwrap().settings(), again.lora().unwrap().settings());
        assert_eq!((before.rank, before.scale(), before.dropout), (after.rank, after.scale(), after.dropout));
        let batch = packed(&model, files);
        let run = |model: &Vlm| tch::no_grad(|| logits(model.network(), &batch));
        assert!(run(&model).equal(&run(&again)), "{name}");

        // Restored into a fresh adapter of the same layers.
        let settings = LoraSettings { dropout: 0.0, ..after.clone() };
        let mut restored = open(base, new(settings));
        restored.load(dir.path()).unwrap();
        assert!(run(&model).equal(&run(&restored)), "{name}");
    }
}

#[test]
fn dropout_is_of_its_place_and_of_training_alone() {
    let settings = LoraSettings { dropout: 0.5, ..LoraSettings::default() };
    let model = open("tiny-vlm", new(settings.clone()));
    {
        let _no_grad = tch::no_grad_guard();
        for param in model.learned().params() {
            let _ = param.tensor.shallow_clone().fill_(0.1);
        }
    }
    let batch = packed(&model, ".");
    let run = |network: &Network| tch::no_grad(|| logits(network, &batch));
    let at = |step, pass| run(&model.with_dropout("open", step, pass).unwrap());
    assert!(run(model.network()).equal(&run(model.network())));
    assert!(at(1, 0).equal(&at(1, 0)));
    for other in [run(model.network()), at(1, 1), at(2, 0), run(&model.with_dropout("sft", 1, 0).unwrap())] {
        assert!(max_diff(&other, &at(1, 0)) > 1e-3);
    }
    assert!(open("tiny-vlm", new(LoraSettings::default())).with_dropout("open", 1, 0).is_none());
    assert!(open("tiny-vlm", None).with_dropout("open", 1, 0).is_none());
}

#[test]
fn parts_are_frozen_apart() {
    let all = LoraSettings { targets: LoraTargets::Pattern("all-linear".into()), ..LoraSettings::default() };
    for (_, base, files) in FAMILIES {
        for learning in PartOfModel::ALL {
            let model = open(base, new(all.clone()));
            let batch = packed(&model, files);
            model.set_trainable(|part| part == learning);
            target_logprobs(&logits(model.network(), &batch), &batch).sum(Kind::Float).backward();
            for param in model.learned().params() {
                let has_grad = model.learned().grad(param).defined();
                assert_eq!(has_grad, param.spec.part() == learning, "{base} {}", param.spec.name);
            }
        }
    }
}

#[test]
fn bad_adapters_say_what_is_wrong() {
    let error = |dir: &Path| {
        let lora = Some(LoraOption::Folder { dir: dir.into(), dropout: None, seed: Seed::new(0) });
        Vlm::open(&golden("tiny-vlm"), VlmOptions { lora, ..VlmOptions::default() })
            .err()
            .unwrap()
            .to_string()
    };
    let copy = |change: &dyn Fn(&mut Value)| {
        let dir = tempfile::tempdir().unwrap();
        let weights = "adapter_model.safetensors";
        fs::copy(adapter("tiny-vlm").join(weights), dir.path().join(weights)).unwrap();
        let mut config: Value =
            serde_json::from_slice(&fs::read(adapter("tiny-vlm").join("adapter_config.json")).unwrap())
                .unwrap();
        change(&mut config);
        fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
        dir
    };
    let text = error(
        copy(&|config| {
            config["peft_type"] = "IA3".into();
            config["use_dora"] = true.into();
            config["rank_pattern"] = serde_json::json!({"q_proj": 3});
        })
        .path(),
    );
    for part in ["adapter_config.json", "`IA3`", "use_dora", "rank_pattern"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for name in ["pissa", "PiSSA_niter_16", "olora", "corda", "loftq"] {
        let text = error(copy(&|config| config["init_lora_weights"] = name.into()).path());
        assert!(text.contains("has changed the weights that the adapter stands on"), "{text}");
    }
    let text = error(copy(&|config| config["r"] = 5.into()).path());
    assert!(
        text.contains("28 of another shape") && text.contains("lora_A.weight` is [4, 32], not [5, 32]"),
        "{text}"
    );
    let text = error(copy(&|config| config["target_modules"] = serde_json::json!(["qkv", "q_proj"])).path());
    assert!(text.contains("6 missing, 24 unexpected"), "{text}");
    let dir = copy(&|_| {});
    fs::remove_file(dir.path().join("adapter_model.safetensors")).unwrap();
    assert!(error(dir.path()).contains("safetensors"));

    let unnamed = copy(&|config| config["base_model_name_or_path"] = Value::Null);
    let text = Vlm::open(unnamed.path(), VlmOptions::default()).err().unwrap().to_string();
    assert!(text.contains("base_model_name_or_path"), "{text}");
    let twice = VlmOptions { lora: Some(new(LoraSettings::default())), ..VlmOptions::default() };
    assert!(Vlm::open(&adapter("tiny-vlm"), twice).err().unwrap().to_string().contains("is an adapter"));
}
