//! What the benches run: workload W1 (1.2 M parameters, 4 prompts of 127 tokens, 64 of them visual), W2 (42 M parameters,
//! 1 prompt of 463 tokens, 400 of them visual), both with random weights, and W1's prompts on the pico model.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::Arc,
};

use image::{ImageFormat, Rgb, RgbImage};
use rand::Rng as _;
// Measured with the allocator of the programs.
use reft_allocator as _;
use reft_core::{BoxFrame, Form, ImageRef, ImageSize, ImageSource, Message, Part, Role, Sample, Seed, Task};
use reft_vlm::{Vlm, VlmOptions};

/// What is asked of which model.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// The random model; none for the pico model.
    pub(crate) shape: Option<Shape>,
    pub(crate) prompts: u64,
    /// Side of the images in pixels.
    pub(crate) side: u32,
    pub(crate) prompt_tokens: usize,
}

/// A Qwen2.5-VL. MLPs are three times as wide as what they read.
pub(crate) struct Shape {
    pub(crate) width: u32,
    pub(crate) layers: u32,
    pub(crate) heads: u32,
    pub(crate) tower_width: u32,
    pub(crate) tower_depth: u32,
    /// Rotary frequencies of time, height and width.
    pub(crate) sections: [u32; 3],
}

pub(crate) const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "W1, 1.2 M, 4 x 8 x 64",
        shape: Some(Shape {
            width: 128,
            layers: 4,
            heads: 4,
            tower_width: 64,
            tower_depth: 2,
            sections: [4, 6, 6],
        }),
        prompts: 4,
        side: 224,
        prompt_tokens: 127,
    },
    Workload {
        name: "W2, 42 M, 1 x 8 x 64",
        shape: Some(Shape {
            width: 512,
            layers: 12,
            heads: 8,
            tower_width: 256,
            tower_depth: 4,
            sections: [8, 12, 12],
        }),
        prompts: 1,
        side: 560,
        prompt_tokens: 463,
    },
    Workload { name: "pico, 4 x 8 x 64", shape: None, prompts: 4, side: 224, prompt_tokens: 127 },
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A workload's model, which keeps up to so many bytes of image features. Benches ask the same prompts again and again:
/// with more than 0 they see the tower at work only once.
pub(crate) fn open(workload: &Workload, feature_memory: u64) -> Vlm {
    let Some(shape) = &workload.shape else {
        return Vlm::open(&fixture("pico-vlm"), VlmOptions { feature_memory, ..VlmOptions::default() })
            .unwrap();
    };
    let golden_config: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture("golden/tiny-vlm").join("config.json")).unwrap()).unwrap();
    let config = serde_json::json!({
        "model_type": "qwen2_5_vl", "image_token_id": golden_config["image_token_id"], "tie_word_embeddings": false,
        "vocab_size": 332, "hidden_size": shape.width, "intermediate_size": 3 * shape.width,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "num_key_value_heads": 2,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": shape.sections},
        "vision_config": {
            "depth": shape.tower_depth, "hidden_size": shape.tower_width, "intermediate_size": 3 * shape.tower_width,
            "num_heads": 4, "out_hidden_size": shape.width, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [shape.tower_depth - 1],
        },
    });
    open_random(&config, workload.side, VlmOptions { feature_memory, ..VlmOptions::default() })
}

/// A model of this `config.json` with random weights and the fixtures' tokenizer, for images of this side. Its end token
/// is the fixtures' unless the config names one.
pub(crate) fn open_random(config: &serde_json::Value, side: u32, options: VlmOptions) -> Vlm {
    let dir = tempfile::tempdir().unwrap();
    let golden = fixture("golden/tiny-vlm");
    for file in ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"] {
        fs::copy(golden.join(file), dir.path().join(file)).unwrap();
    }
    if !config["eos_token_id"].is_null() {
        let generation = serde_json::json!({"eos_token_id": config["eos_token_id"]}).to_string();
        fs::write(dir.path().join("generation_config.json"), generation).unwrap();
    }
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let area = side * side;
    let processor = format!(r#"{{"patch_size": 14, "min_pixels": {area}, "max_pixels": {area}}}"#);
    fs::write(dir.path().join("preprocessor_config.json"), processor).unwrap();
    Vlm::open(dir.path(), VlmOptions { init: Some(Seed::new(0)), ..options }).unwrap()
}

/// Noise images with a question that fills the prompt to its length where it can.
pub(crate) fn samples(workload: &Workload, model: &Vlm) -> Vec<Arc<Sample>> {
    let &Workload { prompts, side, prompt_tokens, .. } = workload;
    let message = |image: &ImageRef, words: usize| {
        let content = vec![Part::Image(image.clone()), Part::Text("? ".repeat(words))];
        vec![Message { role: Role::User, content }]
    };
    (0..prompts)
        .map(|n| {
            let mut rng = Seed::new(n).rng();
            let noise = RgbImage::from_fn(side, side, |_, _| Rgb(rng.random()));
            let mut png = Cursor::new(Vec::new());
            noise.write_to(&mut png, ImageFormat::Png).unwrap();
            let image = ImageRef {
                source: ImageSource::Bytes(png.into_inner().into()),
                size: ImageSize { width: side, height: side },
                label: "noise".into(),
            };
            let length = |words| model.processor().count_prompt_tokens(&message(&image, words)).unwrap();
            let words =
                (1..prompt_tokens).take_while(|&words| length(words) <= prompt_tokens).last().unwrap_or(1);
            Arc::new(Sample {
                id: n.to_string().into(),
                task: Task::Math,
                form: Form::Open,
                problem: String::new(),
                messages: message(&image, words),
                solution: String::new(),
                box_frame: BoxFrame::Original,
                parent: None,
            })
        })
        .collect()
}
