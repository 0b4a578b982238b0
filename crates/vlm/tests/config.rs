//! `config.json` in the layouts that are in circulation.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use std::{fs, path::Path};

use reft_vlm::model::{Activation, ConfigError, Network, ParamSpec, TowerConfig, VlmConfig};
use serde_json::{Value, json};

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name);
    serde_json::from_slice(&fs::read(path.join("config.json")).unwrap()).unwrap()
}

fn read(json: &Value) -> Result<VlmConfig, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    VlmConfig::open(dir.path())
}

/// Moves the decoder's fields of a flat file into `text_config`, as transformers 4.52 and later write them.
fn nested(flat: &Value) -> Value {
    let top = ["model_type", "architectures", "image_token_id", "vision_config", "tie_word_embeddings"];
    let (outer, inner): (serde_json::Map<_, _>, serde_json::Map<_, _>) =
        flat.as_object().unwrap().clone().into_iter().partition(|(key, _)| top.contains(&key.as_str()));
    let mut outer = Value::Object(outer);
    outer["text_config"] = Value::Object(inner);
    outer
}

/// Moves `rope_scaling` and `rope_theta` into `rope_parameters`, as transformers 5 writes them.
fn with_rope_parameters(json: &Value) -> Value {
    let mut json = json.clone();
    let text = if json["text_config"].is_object() { &mut json["text_config"] } else { &mut json };
    let text = text.as_object_mut().unwrap();
    let mut rope = text.remove("rope_scaling").unwrap();
    rope["rope_theta"] = text.remove("rope_theta").unwrap();
    rope["rope_type"] = "default".into();
    text.insert("rope_parameters".into(), rope);
    json
}

#[test]
fn layouts_of_one_model_read_to_the_same() {
    let flat = golden("qwen2-vl/model");
    let expected = read(&flat).unwrap();
    for other in [nested(&flat), with_rope_parameters(&flat), with_rope_parameters(&nested(&flat))] {
        assert_eq!(read(&other).unwrap(), expected, "{other}");
    }
    let qwen3 = golden("qwen3-vl/model");
    assert_eq!(read(&with_rope_parameters(&qwen3)).unwrap(), read(&qwen3).unwrap());
}

/// A file that was saved again holds the older and the newer name of one field.
#[test]
fn fields_nobody_reads_do_no_harm() {
    let mut json = golden("qwen2-vl/model");
    json["vision_config"]["in_channels"] = 3.into();
    json["text_config"] = Value::Null;
    assert_eq!(read(&json).unwrap(), read(&golden("qwen2-vl/model")).unwrap());
}

#[test]
fn tying_is_where_the_family_keeps_it() {
    let tied = |name: &str, outer: Value, inner: Value| {
        let mut json = golden(name);
        json["tie_word_embeddings"] = outer;
        json["text_config"]["tie_word_embeddings"] = inner;
        read(&json).unwrap().tie_word_embeddings
    };
    assert!(tied("tiny-vlm", false.into(), true.into()));
    assert!(tied("tiny-vlm", true.into(), Value::Null));
    assert!(!tied("tiny-vlm", Value::Null, false.into()));
    assert!(tied("qwen3-vl/model", true.into(), false.into()));
    assert!(!tied("qwen3-vl/model", false.into(), true.into()), "as transformers 5 reads it");
}

/// Defaults are those of the configuration classes of transformers 5.23.
#[test]
fn missing_fields_have_the_families_defaults() {
    let mut json = golden("qwen3-vl/model");
    json["text_config"] = json!({
        "vocab_size": 320, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
        "num_attention_heads": 4, "max_position_embeddings": 512,
    });
    json["vision_config"].as_object_mut().unwrap().remove("hidden_act");
    let config = read(&json).unwrap();
    assert_eq!((config.text.head_dim, config.text.num_key_value_heads), (128, 4));
    assert_eq!((config.text.rope_theta, config.text.mrope_section), (5e5, [24, 20, 20]));
    assert_eq!(config.vision.hidden_act, Activation::GeluTanh);

    let mut json = golden("qwen2-vl/model");
    json.as_object_mut().unwrap().retain(|key, _| !key.starts_with("rope_") && key != "rms_norm_eps");
    json["hidden_size"] = 512.into();
    json["vision_config"]["hidden_size"] = 512.into();
    let config = read(&json).unwrap();
    assert_eq!((config.text.rope_theta, config.text.rms_norm_eps), (1e6, 1e-5));
    assert_eq!((config.text.head_dim, config.text.mrope_section), (128, [16, 24, 24]));
    assert_eq!(config.vision.hidden_act, Activation::QuickGelu);

    let mut json = golden("smolvlm/model");
    json["vision_config"] =
        json!({"image_size": 512, "patch_size": 16, "hidden_size": 768, "num_attention_heads": 12});
    let config = read(&json).unwrap();
    assert_eq!((config.vision.depth, config.vision.intermediate_size), (12, 3072));
    assert_eq!(config.vision.tower, TowerConfig::Siglip { positions_per_side: 32, eps: 1e-6 });

    let mut json = golden("internvl-qwen2/model");
    json["vision_config"] = Value::Null;
    let config = read(&json).unwrap();
    assert_eq!((config.vision.depth, config.vision.hidden_size, config.vision.num_heads), (24, 1024, 16));
    assert_eq!((config.vision.view_side(), config.vision.patch_size), (Some(448), 14));
}

/// SmolVLM2's network under its older name.
#[test]
fn idefics3_is_read_as_smolvlm() {
    let mut json = golden("smolvlm/model");
    let smolvlm = read(&json).unwrap();
    json["model_type"] = "idefics3".into();
    let idefics3 = read(&json).unwrap();
    assert_eq!((idefics3.text, idefics3.vision), (smolvlm.text, smolvlm.vision));
}

/// What a file may hold that would change the numbers silently, or that contradicts itself.
#[test]
fn what_cannot_be_computed_is_refused() {
    let cases = [
        (
            "qwen2-vl/model",
            "/model_type",
            json!("llava"),
            "`llava` is not supported (supported: qwen2_vl, qwen2_5_vl, qwen3_vl, qwen3_5, smolvlm, idefics3, internvl)",
        ),
        ("qwen2-vl/model", "/model_type", json!("qwen3_vl_moe"), "qwen3_vl_moe"),
        ("qwen2-vl/model", "/use_sliding_window", json!(true), "use_sliding_window"),
        ("qwen2-vl/model", "/rope_scaling/type", json!("yarn"), "rotary positions of type \"yarn\""),
        ("qwen2-vl/model", "/rope_scaling/mrope_section", json!([2, 1]), "mrope_section"),
        ("qwen2-vl/model", "/rope_scaling/mrope_section", json!([3, 2, -1]), "mrope_section"),
        ("qwen2-vl/model", "/rope_scaling/mrope_section", json!([2, 2, 1]), "half a head of 8"),
        ("qwen2-vl/model", "/num_attention_heads", json!(5), "num_attention_heads 5"),
        ("qwen2-vl/model", "/num_key_value_heads", json!(3), "num_key_value_heads 3"),
        ("qwen2-vl/model", "/num_attention_heads", json!(0), "num_attention_heads 0"),
        ("qwen2-vl/model", "/hidden_act", json!("relu"), "unknown variant `relu`, expected one of"),
        ("qwen2-vl/model", "/image_token_id", Value::Null, "image_token_id"),
        ("qwen2-vl/model", "/vision_config/hidden_size", json!(48), "output width 48"),
        ("qwen2-vl/model", "/vision_config/num_heads", json!(0), "num_heads 0"),
        ("qwen2-vl/model", "/vision_config/patch_size", json!(0), "patch_size 0 is not positive"),
        ("qwen2-vl/model", "/num_hidden_layers", json!(-1), "num_hidden_layers -1"),
        ("tiny-vlm", "/vision_config/window_size", json!(7), "window_size 7"),
        ("qwen3-vl/model", "/text_config/rope_scaling/rope_type", json!("linear"), "linear"),
        ("qwen3-vl/model", "/vision_config/deepstack_visual_indexes", json!([4]), "beyond depth 4"),
        (
            "qwen3-vl/model",
            "/vision_config/deepstack_visual_indexes",
            json!([0, 1, 2, 3]),
            "more than the decoder's",
        ),
        ("qwen3-vl/model", "/vision_config/num_position_embeddings", json!(0), "num_position_embeddings"),
        ("qwen3-vl/model", "/vision_config", json!({}), "vision_config: missing field"),
        ("qwen3_5/model", "/model_type", json!("qwen3_5_moe"), "take a dense model"),
        (
            "qwen3_5/model",
            "/text_config/linear_num_value_heads",
            json!(3),
            "not a multiple of linear_num_key_heads",
        ),
        ("qwen3_5/model", "/text_config/linear_conv_kernel_dim", json!(0), "linear_conv_kernel_dim 0"),
        (
            "qwen3_5/model",
            "/text_config/rope_parameters/partial_rotary_factor",
            json!(0.5),
            "half a head of 16",
        ),
        ("internvl-qwen2/model", "/model_type", json!("internvl_chat"), "ends with `-hf`"),
        ("smolvlm/model", "/model_type", json!("idefics2"), "`idefics2` is not supported"),
        ("smolvlm/model", "/text_config/model_type", json!("mistral"), "decoder of type `mistral`"),
        ("smolvlm/model", "/text_config/rope_theta", json!({"a": 1}), "rope_theta"),
        ("smolvlm/model", "/vision_config/image_size", json!(3), "smaller than one patch"),
        ("smolvlm/model", "/vision_config/patch_size", json!([4, 2]), "is not square"),
        ("smolvlm/model", "/scale_factor", json!(0), "spatial_merge_size 0"),
        ("internvl-qwen2/model", "/vision_config/norm_type", json!("none"), "norm_type `none`"),
        ("internvl-qwen2/model", "/downsample_ratio", json!(0.3), "`downsample_ratio`"),
        (
            "internvl-qwen2/model",
            "/text_config/model_type",
            json!("qwen3_moe"),
            "decoder of type `qwen3_moe`",
        ),
    ];
    for (name, field, value, expected) in cases {
        let mut json = golden(name);
        *json.pointer_mut(field).unwrap() = value.clone();
        let error = read(&json).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("config.json"), "{field} = {value}: {error}");
    }
}

/// Packed weights are refused as such, before their tensors are looked at.
#[test]
fn quantised_checkpoints_are_refused() {
    let mut json = golden("qwen2-vl/model");
    json["quantization_config"] = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
    let error = read(&json).unwrap_err().to_string();
    assert!(error.contains("quantised (`quantization_config`: bitsandbytes, 4 bits)"), "{error}");
    let mut json = golden("qwen3-vl/model");
    json["text_config"]["quantization_config"] = json!({"quant_method": "fp8"});
    let error = read(&json).unwrap_err().to_string();
    assert!(error.contains("`quantization_config`: fp8") && error.contains("config.json"), "{error}");
    json["text_config"]["quantization_config"] = Value::Null;
    assert!(read(&json).is_ok());
}

/// The published sizes: as many tensors and parameters as `transformers` makes of the same configs.
#[test]
fn published_configs_have_the_references_parameters() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/shapes.json");
    let rows: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(rows.len(), 16);
    for row in rows {
        let specs = Network::declare(&read(&row["config"]).unwrap());
        let parameters: i64 = specs.iter().map(ParamSpec::numel).sum();
        assert_eq!(
            (json!(specs.len()), json!(parameters)),
            (row["tensors"].clone(), row["parameters"].clone()),
            "{row}"
        );
    }
}
