//! Kept image features: equal to the last bit to new ones, never those of other weights or other settings, within their
//! budget.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use image::{ImageFormat, Rgb, RgbImage};
use reft_core::{Checkpointed as _, ImageRef, ImageSize, ImageSource, Message, Part, Role, Seed};
use reft_vlm::{
    CheckpointSummary, Vlm, VlmOptions,
    lora::{LoraOption, LoraSettings, LoraTargets},
    model::{Keep, Network, PackedBatch, PartOfModel, VlmConfig, inference::Inference},
    processor::{EncodedPrompt, Processor},
};
use tch::Tensor;

const FAMILIES: [&str; 6] = [
    "tiny-vlm",
    "qwen2-vl/model",
    "qwen3-vl/model",
    "qwen3_5/model",
    "smolvlm/model",
    "internvl-qwen3/model",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn open(name: &str, options: VlmOptions) -> Vlm {
    Vlm::open(&golden(name), options).unwrap()
}

/// A picture of its own for every number.
fn picture(n: u8) -> ImageRef {
    let (width, height) = (60, 40);
    let pixels = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8 * 4, y as u8 * n, 50 * n]));
    let mut png = Cursor::new(Vec::new());
    pixels.write_to(&mut png, ImageFormat::Png).unwrap();
    ImageRef {
        source: ImageSource::Bytes(png.into_inner().into()),
        size: ImageSize { width, height },
        label: "made".into(),
    }
}

fn question(pictures: &[u8]) -> Vec<Message> {
    let images = pictures.iter().map(|&n| Part::Image(picture(n)));
    vec![Message { role: Role::User, content: images.chain([Part::Text("ab".into())]).collect() }]
}

fn prompts(model: &Vlm, pictures: &[&[u8]]) -> Vec<EncodedPrompt> {
    pictures.iter().map(|pictures| model.encode(&question(pictures)).unwrap()).collect()
}

fn pack(model: &Vlm, prompts: &[EncodedPrompt]) -> PackedBatch {
    model.pack(&prompts.iter().map(|prompt| (prompt, vec![[5_i64, 6].as_slice()])).collect::<Vec<_>>())
}

/// Views that a picture becomes; all pictures here have one size.
fn views(model: &Vlm) -> usize {
    prompts(model, &[&[1]])[0].images.len()
}

/// Features of the tower, and behind them those for deeper layers.
fn features(network: &Network, batch: &PackedBatch) -> Vec<Tensor> {
    let features = batch.images.as_ref().unwrap().features(&network.vision);
    std::iter::once(features.tokens_md).chain(features.deepstack).collect()
}

fn equal(a: &[Tensor], b: &[Tensor]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equal(b))
}

/// Writes to the parameters of a part, as an optimizer does.
fn change(model: &Vlm, part: PartOfModel) {
    let _no_grad = tch::no_grad_guard();
    for (_, buffer) in model.learned().buffers().iter().filter(|(key, _)| key.part == part) {
        let _ = buffer.shallow_clone().g_mul_scalar_(1.01);
    }
}

#[test]
fn they_are_those_of_a_new_pass_to_the_last_bit() {
    for name in FAMILIES {
        let keeps = open(name, VlmOptions::default());
        let forgets = open(name, VlmOptions { feature_memory: 0, ..VlmOptions::default() });
        let prompts = prompts(&keeps, &[&[1, 2], &[3], &[2]]);
        let run = |model: &Vlm, prompts: &[EncodedPrompt]| {
            let batch = pack(model, prompts);
            let passes =
                [Keep::Graph, Keep::LayerInputs].map(|keep| model.network().pass(&batch, keep).hidden());
            (features(model.network(), &batch), passes)
        };
        {
            // As a rollout does, two prompts of three together.
            let _inference = Inference::start();
            let rollout = |model: &Vlm| features(model.network(), &pack(model, &prompts[1..]));
            assert!(equal(&rollout(&keeps), &rollout(&forgets)), "{name}: a rollout");
            assert_eq!(keeps.kept_features().n_images(), 2 * views(&keeps), "{name}");
        }
        for _ in 0..2 {
            let ((kept, kept_passes), (new, new_passes)) = (run(&keeps, &prompts), run(&forgets, &prompts));
            assert!(equal(&kept, &new) && equal(&kept_passes, &new_passes), "{name}: a pass of training");
        }
        assert_eq!(keeps.kept_features().n_images(), 3 * views(&keeps), "{name}: once for each picture");
        assert_eq!((forgets.kept_features().n_images(), forgets.kept_features().bytes()), (0, 0), "{name}");
        assert_eq!(run(&keeps, &prompts).0.len() > 1, name.starts_with("qwen3-vl"), "deepstack");
    }
}

#[test]
fn an_update_or_a_checkpoint_makes_them_anew() {
    for name in FAMILIES {
        let mut model = open(name, VlmOptions::default());
        let saved = tempfile::tempdir().unwrap();
        model.save(saved.path()).unwrap();
        let batch = pack(&model, &prompts(&model, &[&[1], &[2]]));
        let start = features(model.network(), &batch);

        change(&model, PartOfModel::Decoder);
        assert!(equal(&features(model.network(), &batch), &start), "{name}: the decoder alone has changed");
        for part in [PartOfModel::VisionTower, PartOfModel::Merger] {
            let before = features(model.network(), &batch);
            assert_eq!(model.kept_features().n_images(), 2 * views(&model));
            change(&model, part);
            let after = features(model.network(), &batch);
            assert!(!equal(&after, &before), "{name}: {part:?} has changed");
            assert_eq!(
                model.kept_features().n_images(),
                2 * views(&model),
                "{name}: those of old weights are gone"
            );
        }
        model.load(saved.path()).unwrap();
        assert!(equal(&features(model.network(), &batch), &start), "{name}: loaded");
    }
}

#[test]
fn a_tower_that_learns_is_run_each_time() {
    for name in FAMILIES {
        let model = open(name, VlmOptions::default());
        let batch = pack(&model, &prompts(&model, &[&[1], &[2]]));
        for learns in [PartOfModel::VisionTower, PartOfModel::Merger] {
            model.set_trainable(|part| part == learns);
            assert!(features(model.network(), &batch)[0].requires_grad(), "{name}: {learns:?}");
            assert_eq!(model.kept_features().n_images(), 0);
        }
        model.set_trainable(|part| part == PartOfModel::Decoder);
        assert!(!features(model.network(), &batch)[0].requires_grad());
        model.set_trainable(|_| true);
        tch::no_grad(|| features(model.network(), &batch));
        assert_eq!(
            model.kept_features().n_images(),
            2 * views(&model),
            "{name}: a rollout records no gradients"
        );
    }
}

#[test]
fn the_least_recently_used_leave_when_the_budget_is_full() {
    let one = open("qwen3-vl/model", VlmOptions::default());
    let of = |model: &Vlm, n: u8| pack(model, &prompts(model, &[&[n]]));
    features(one.network(), &of(&one, 1));
    let bytes = one.kept_features().bytes();
    let with_deepstack: usize = features(one.network(), &of(&one, 1)).iter().map(|x| x.numel() * 4).sum();
    assert_eq!(bytes, with_deepstack as u64);
    let summary = CheckpointSummary::open(&golden("qwen3-vl/model")).unwrap();
    let tokens = prompts(&one, &[&[1]])[0].images[0].grid.tokens as u64;
    assert_eq!(bytes, summary.bytes_per_image_token * tokens, "as `reft doctor` says");

    let model = open("qwen3-vl/model", VlmOptions { feature_memory: 3 * bytes + 1, ..VlmOptions::default() });
    for n in [1, 2, 3, 1, 4, 5] {
        features(model.network(), &of(&model, n));
        assert!(model.kept_features().bytes() <= 3 * bytes);
    }
    assert_eq!(model.kept_features().n_images(), 3);
    // 1, 4 and 5 are left: a batch of all five still has every feature, whatever is dropped meanwhile.
    let all = pack(&model, &prompts(&model, &[&[1, 2, 3], &[4, 5]]));
    let expected = pack(&one, &prompts(&one, &[&[1, 2, 3], &[4, 5]]));
    assert!(equal(&features(model.network(), &all), &features(one.network(), &expected)));
    assert_eq!(model.kept_features().n_images(), 3);

    let small = open("qwen3-vl/model", VlmOptions { feature_memory: bytes - 1, ..VlmOptions::default() });
    features(small.network(), &of(&small, 1));
    assert_eq!((small.kept_features().n_images(), small.kept_features().bytes()), (0, 0));
}

/// A processor with `settings` written over those of the fixture.
fn processor(settings: &[(&str, serde_json::Value)]) -> Processor {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden("tiny-vlm")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end != "safetensors") {
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = dir.path().join("processor_config.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (key, value) in settings {
        json["image_processor"][*key] = value.clone();
    }
    fs::write(&path, json.to_string()).unwrap();
    Processor::open(dir.path(), &VlmConfig::open(dir.path()).unwrap(), None, None).unwrap()
}

#[test]
fn processors_with_other_settings_share_nothing() {
    let model = open("tiny-vlm", VlmOptions::default());
    let plain = processor(&[]);
    let others = [
        processor(&[("image_mean", serde_json::json!([0.4, 0.5, 0.6]))]),
        processor(&[("image_std", serde_json::json!([0.4, 0.5, 0.6]))]),
        processor(&[("resample", serde_json::json!(2))]),
        processor(&[("max_pixels", serde_json::json!(1000)), ("min_pixels", serde_json::json!(100))]),
    ];
    let of = |processor: &Processor| {
        let prompt = processor.encode(&question(&[1])).unwrap();
        (prompt.images[0].key, features(model.network(), &pack(&model, &[prompt])))
    };
    let (key, first) = of(&plain);
    for (n, other) in others.iter().enumerate() {
        let (other_key, other) = of(other);
        assert_ne!(other_key, key, "{n}");
        assert!(other[0].size() != first[0].size() || !equal(&other, &first), "{n}");
    }
    assert_eq!(model.kept_features().n_images(), 1 + others.len());
    // One picture through two equal processors has one key; other bytes are another picture.
    assert_eq!(of(&processor(&[])).0, key);
    assert_ne!(plain.encode(&question(&[2])).unwrap().images[0].key, key);
}

fn adapted(targets: &str, dropout: f64) -> Vlm {
    let targets = LoraTargets::Pattern(targets.into());
    let settings = LoraSettings { rank: 2, dropout, targets, ..LoraSettings::default() };
    let lora = Some(LoraOption::New { settings, seed: Seed::new(3) });
    open("tiny-vlm", VlmOptions { lora, ..VlmOptions::default() })
}

#[test]
fn references_share_with_the_policy_what_is_the_same() {
    // Only the decoder has adapters: with and without them the tower is one.
    let model = adapted(r".*language_model.*q_proj", 0.1);
    model.set_trainable(|_| true);
    let batch = pack(&model, &prompts(&model, &[&[1]]));
    let own = features(model.network(), &batch);
    let reference = model.without_adapter().unwrap();
    let dropped = model.with_dropout("a", 1, 0).unwrap();
    for network in [reference.network(), &dropped] {
        assert!(equal(&features(network, &batch), &own));
    }
    assert_eq!(model.kept_features().n_images(), 1);

    // Adapters of the tower: each network has a tower of its own, one that drops inputs keeps nothing.
    let model = adapted(r".*visual.*", 0.5);
    for buffer in model.learned().buffers().values() {
        let _ = tch::no_grad(|| buffer.shallow_clone().g_add_scalar_(0.01));
    }
    let batch = pack(&model, &prompts(&model, &[&[1]]));
    let own = tch::no_grad(|| features(model.network(), &batch));
    assert!(!own[0].get(0).equal(&own[0].get(1)), "features that tell places apart");
    let reference = model.without_adapter().unwrap();
    assert!(!equal(&features(reference.network(), &batch), &own));
    let frozen = model.freeze();
    assert!(equal(&features(frozen.network(), &batch), &own));
    assert_eq!(model.kept_features().n_images(), 3, "policy, reference and frozen copy");
    let dropped = model.with_dropout("a", 1, 0).unwrap();
    assert!(!equal(&tch::no_grad(|| features(&dropped, &batch)), &own));
    assert_eq!(model.kept_features().n_images(), 3);
    drop(frozen);
    tch::no_grad(|| features(model.network(), &batch));
    assert_eq!(model.kept_features().n_images(), 2, "a network that is gone leaves nothing behind");
}
