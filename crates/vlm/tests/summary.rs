//! What is said of a checkpoint before it is loaded.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

mod common;

use std::{fs, io::Write as _};

use common::{altered, golden};
use reft_core::Seed;
use reft_vlm::{
    CheckpointSummary, HeadKind, Vlm, VlmOptions,
    lora::{LoraOption, LoraSettings},
    model::{Network, PartOfModel, VlmConfig},
};
use serde_json::{Value, json};
use tch::Kind;

#[test]
fn golden_checkpoints_are_told_as_they_load() {
    for (name, family, dtype, head) in [
        ("tiny-vlm", "qwen2_5_vl", "BF16", HeadKind::Own),
        ("qwen2-vl/model", "qwen2_vl", "F16", HeadKind::Tied),
        ("qwen3-vl/model", "qwen3_vl", "BF16", HeadKind::Own),
        ("smolvlm/model", "smolvlm", "BF16", HeadKind::Own),
        ("internvl-qwen2/model", "internvl", "BF16", HeadKind::Tied),
    ] {
        let dir = golden(name);
        let summary = CheckpointSummary::open(&dir).unwrap();
        assert_eq!((summary.family, summary.head, &summary.problem), (family, head, &None), "{name}");

        let model = Vlm::open(&dir, VlmOptions::default()).unwrap();
        let numel = |part: PartOfModel| -> u64 {
            let buffers = model.params().buffers().iter().filter(|(key, _)| key.part == part);
            buffers.map(|(_, buffer)| buffer.numel() as u64).sum()
        };
        let sizes = summary.parameters;
        assert_eq!(sizes.vision_tower, numel(PartOfModel::VisionTower), "{name}");
        assert_eq!(sizes.merger, numel(PartOfModel::Merger), "{name}");
        assert_eq!(sizes.decoder + sizes.head, numel(PartOfModel::Decoder), "{name}");
        let text = &model.config().text;
        let own = if head == HeadKind::Own { text.vocab_size * text.hidden_size } else { 0 };
        assert_eq!(sizes.head, own as u64, "{name}");
        assert_eq!(summary.stored, [(dtype.to_owned(), sizes.total)].into(), "{name}");

        let mut modes = summary.needs.iter();
        let n = sizes.total;
        let generate = modes.next().unwrap();
        assert_eq!((generate.dtype, generate.total), ("fp32", 4 * n));
        let train = modes.next().unwrap();
        assert_eq!((train.bytes.gradients, train.bytes.adamw, train.bytes.reference), (4 * n, 8 * n, 0));
        let with_reference = modes.next().unwrap();
        assert_eq!(with_reference.total, train.total + 4 * n);
        let decoder = modes.next().unwrap();
        assert_eq!((decoder.bytes.weights, decoder.bytes.adamw), (4 * n, 8 * (sizes.decoder + sizes.head)));
        let halves = summary.needs.iter().find(|need| need.dtype == "bf16" && need.bytes.adamw > 0).unwrap();
        assert_eq!((halves.bytes.weights, halves.bytes.adamw), (2 * n, 12 * n));

        // Adapters on every linear layer of the decoder, and neither gradient nor moments of anything else.
        let lora = VlmOptions {
            lora: Some(LoraOption::New { settings: LoraSettings::default(), seed: Seed::new(0) }),
            ..VlmOptions::default()
        };
        let a = Vlm::open(&dir, lora).unwrap().learned().numel() as u64;
        let need = summary.needs.iter().find(|need| need.mode.contains("LoRA")).unwrap();
        assert_eq!((need.bytes.weights, need.bytes.gradients), (4 * n + 4 * a, 4 * a));
        assert_eq!((need.bytes.adamw, need.bytes.reference), (8 * a, 0));

        let text = summary.to_string();
        assert!(text.contains(family) && text.contains("fit the config") && text.contains("grpo with KL"));
    }
}

#[test]
fn tensors_that_do_not_fit_are_listed() {
    let dir = altered("tiny-vlm", |tensors| {
        tensors.retain(|(name, _)| name != "model.norm.weight");
        tensors.push(("visual.extra".into(), tch::Tensor::from(1.0_f32)));
        for (name, tensor) in tensors {
            match name.as_str() {
                "lm_head.weight" => *tensor = tensor.narrow(0, 0, 3),
                "model.embed_tokens.weight" => *tensor = tensor.to_kind(Kind::Int),
                _ => {}
            }
        }
    });
    let summary = CheckpointSummary::open(dir.path()).unwrap();
    assert_eq!(
        (summary.missing, summary.unexpected),
        (vec!["model.norm.weight".into()], vec!["visual.extra".into()])
    );
    assert_eq!((summary.misshaped.len(), summary.mistyped.len()), (1, 1));
    assert_eq!(summary.misshaped[0].name, "lm_head.weight");
    assert_eq!(
        (summary.mistyped[0].name.as_str(), summary.mistyped[0].found.as_str()),
        ("model.embed_tokens.weight", "I32")
    );
    assert_eq!(summary.stored.keys().collect::<Vec<_>>(), ["BF16", "F32", "I32"]);
    assert!(
        summary.problem.unwrap().contains("1 missing, 1 unexpected, 1 of another shape, 1 of another type")
    );
}

#[test]
fn a_stored_head_of_a_tied_model_is_mentioned() {
    let dir = altered("qwen2-vl/model", |tensors| {
        tensors.push(("lm_head.weight".into(), tch::Tensor::from_slice(&[1.0_f32, 2.0])));
    });
    let summary = CheckpointSummary::open(dir.path()).unwrap();
    assert_eq!((summary.head, summary.problem), (HeadKind::TiedButStored, None));
}

/// The published 3B shape as a file of holes: 7 GB long, taking no room, summed up from its header.
#[test]
fn a_published_shape_is_told_from_its_header() {
    let rows: Value = serde_json::from_slice(&fs::read(golden("shapes.json")).unwrap()).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == "Qwen2.5-VL-3B-Instruct").unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), row["config"].to_string()).unwrap();

    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for spec in Network::declare(&VlmConfig::open(dir.path()).unwrap()) {
        let start = end;
        end += 2 * spec.numel();
        header.insert(spec.name, json!({"dtype": "BF16", "shape": spec.shape, "data_offsets": [start, end]}));
    }
    let header = Value::Object(header).to_string();
    let mut file = fs::File::create(dir.path().join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end as u64).unwrap();

    let summary = CheckpointSummary::open(dir.path()).unwrap();
    assert_eq!((&summary.problem, summary.head), (&None, HeadKind::Tied));
    assert_eq!(json!(summary.parameters.total), row["parameters"]);
    assert_eq!(summary.needs[0].total, 4 * summary.parameters.total);
}
