//! Makes a checkpoint of a published shape with random weights in bf16, to measure memory and time with.
//!
//! `cargo run --release -p reft-vlm --example random -- Qwen2.5-VL-3B-Instruct OUT_DIR`, in the checkout: shapes, a tiny
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
    let mut config = row["config"].clone();
    config["dtype"] = json!("bfloat16");
    // The tiny checkpoint of the family, or of one with the same files.
    let tiny = golden.join(match config["model_type"].as_str() {
        Some("smolvlm") => "smolvlm/model",
        Some("internvl") => "internvl-qwen2/model",
        _ => "tiny-vlm",
    });
    for entry in fs::read_dir(&tiny)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.contains("token") || name.contains("template") || name.starts_with("generation") {
            fs::copy(&path, out.join(name))?;
        }
    }
    let tokens = read(&tiny.join("config.json"))?;
    for id in ["image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"] {
        if !tokens[id].is_null() {
            config[id] = tokens[id].clone();
        }
    }
    fs::write(out.join("config.json"), format!("{config:#}\n"))?;
    fs::write(
        out.join("preprocessor_config.json"),
        format!("{:#}\n", image_settings(&config, &tiny.join("preprocessor_config.json"))?),
    )?;

    let options = VlmOptions { kind: Kind::BFloat16, init: Some(Seed::new(0)), ..VlmOptions::default() };
    Vlm::open(out, options)?.save_as(out, Kind::BFloat16)?;
    Ok(())
}

fn read(path: &Path) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The published settings of the family's image processor.
fn image_settings(config: &Value, of_tiny: &Path) -> Result<Value, Box<dyn Error>> {
    let vision = &config["vision_config"];
    match config["model_type"].as_str() {
        Some("smolvlm") => {
            let tile = vision["image_size"].as_u64().unwrap_or(512);
            let mut settings = read(of_tiny)?;
            settings["max_image_size"] = json!({"longest_edge": tile});
            settings["size"] = json!({"longest_edge": 4 * tile});
            Ok(settings)
        }
        Some("internvl") => {
            let mut settings = read(of_tiny)?;
            settings["size"] = json!({"height": 448, "width": 448});
            settings["max_patches"] = json!(12);
            Ok(settings)
        }
        _ => {
            let side = vision["patch_size"].as_u64().unwrap_or(14);
            Ok(json!({
                "image_processor_type": "Qwen2VLImageProcessor",
                "patch_size": side,
                "size": {"shortest_edge": 16 * side * side, "longest_edge": 16384 * side * side},
            }))
        }
    }
}
