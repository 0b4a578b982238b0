//! Makes a checkpoint of a published shape with random weights in bf16, to measure memory and time with.
//!
//! `cargo run --release -p reft-vlm --example random -- Qwen2.5-VL-3B-Instruct OUT_DIR`, in the checkout: shapes, the tiny
//! tokenizer and the chat template come from `fixtures/golden`. Names are those of `fixtures/golden/shapes.json`.

use std::{env::args, error::Error, fs, path::Path};

use reft_core::Seed;
use reft_vlm::{Vlm, VlmOptions};
use serde_json::{Value, json};
use tch::Kind;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = args().skip(1).collect();
    let [name, out] = args.as_slice() else { return Err("usage: random NAME OUT_DIR".into()) };
    let golden = Path::new("fixtures/golden");
    let shapes: Vec<Value> = serde_json::from_slice(&fs::read(golden.join("shapes.json"))?)?;
    let row = shapes.iter().find(|row| row["name"] == name.as_str());
    let Some(row) = row else {
        let names: Vec<&str> = shapes.iter().filter_map(|row| row["name"].as_str()).collect();
        return Err(format!("no shape `{name}`; choose one of {}", names.join(", ")).into());
    };

    let out = Path::new(out);
    fs::create_dir_all(out)?;
    let tiny = golden.join("tiny-vlm");
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"] {
        fs::copy(tiny.join(file), out.join(file))?;
    }
    let tokens: Value = serde_json::from_slice(&fs::read(tiny.join("config.json"))?)?;
    let mut config = row["config"].clone();
    config["dtype"] = json!("bfloat16");
    for id in ["image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"] {
        config[id] = tokens[id].clone();
    }
    let side = config["vision_config"]["patch_size"].as_u64().unwrap_or(14);
    let preprocessor = json!({
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": side,
        "size": {"shortest_edge": 16 * side * side, "longest_edge": 16384 * side * side},
    });
    fs::write(out.join("config.json"), format!("{config:#}\n"))?;
    fs::write(out.join("preprocessor_config.json"), format!("{preprocessor:#}\n"))?;

    let options = VlmOptions { kind: Kind::BFloat16, init: Some(Seed::new(0)), ..VlmOptions::default() };
    Vlm::open(out, options)?.save_as(out, Kind::BFloat16)?;
    Ok(())
}
