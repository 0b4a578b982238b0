//! Draws a contact sheet of scenes, as docs/DATA.md shows them, and prints their questions and demonstrations.
//!
//! `cargo run --release -p reft-data --example scene_sheet -- id docs/img/scenes_id.png`
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::{env, error::Error, fs::File};

use image::{
    RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
    imageops,
};
use reft_config::{DataConfig, PromptConfig};
use reft_core::{Form, ImageSource, Seed};
use reft_data::Dataset;

const COLUMNS: u32 = 8;
const ROWS: u32 = 3;
/// Pixels between scenes.
const GAP: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: scene_sheet id|ood OUT.png [TRANSCRIPTION]";
    let mut args = env::args().skip(1);
    let (domain, out) = args.next().zip(args.next()).ok_or(usage)?;
    let transcription: f64 = args.next().map_or(Ok(0.0), |share| share.parse())?;
    let config: DataConfig = serde_json::from_value(serde_json::json!({
        "type": "scenes", "glyphs": "fixtures/digits/digits.parquet", "split": "test", "domain": domain,
        "count": COLUMNS * ROWS, "careful": 0.75, "transcription": transcription,
    }))?;
    let set = Dataset::load(
        &config,
        &PromptConfig::default(),
        &[Form::Open, Form::Binary, Form::Choice],
        Seed::new(0),
    )?;

    let side = 64 + GAP;
    let mut sheet = RgbImage::from_pixel(COLUMNS * side + GAP, ROWS * side + GAP, image::Rgb([255; 3]));
    let open = set.samples.iter().filter(|s| s.form == Form::Open);
    for ((sample, x), y) in open.zip((0..COLUMNS).cycle()).zip((0..ROWS).flat_map(|y| [y; COLUMNS as usize]))
    {
        for image in sample.images() {
            if let ImageSource::Bytes(png) = &image.source {
                let scene = image::load_from_memory(png)?.into_rgb8();
                let (x, y) = (x * side + GAP, y * side + GAP);
                imageops::replace(&mut sheet, &scene, x.into(), y.into());
            }
        }
    }
    let best = PngEncoder::new_with_quality(File::create(&out)?, CompressionType::Best, FilterType::NoFilter);
    sheet.write_with_encoder(best)?;
    for demonstration in set.demonstrations() {
        println!("{}  {}", demonstration.sample.problem, demonstration.completion);
    }
    Ok(())
}
