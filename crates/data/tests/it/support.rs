//! Builders shared by the tests.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use image::{DynamicImage, RgbImage};
use reft_config::{DataConfig, PromptConfig};
use reft_core::{BoxFrame, Form, Part, Sample, Seed, Task};
use reft_data::{DataError, Dataset, prompt};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// An open sample without an image: conversion looks at texts only.
pub(crate) fn open(id: usize, task: Task, problem: &str, solution: &str) -> Arc<Sample> {
    Arc::new(Sample {
        id: format!("s{id}").into(),
        task,
        form: Form::Open,
        problem: problem.into(),
        messages: prompt::messages(&PromptConfig::default(), task, Form::Open, problem, []),
        solution: solution.into(),
        box_frame: BoxFrame::Thousand,
        parent: None,
    })
}

/// Scenes of the digits fixture, with changes to the settings.
pub(crate) fn scenes(count: usize, settings: Value, forms: &[Form]) -> Result<Dataset, DataError> {
    let mut config = json!({
        "type": "scenes", "glyphs": fixture("digits/digits.parquet"), "split": "rl", "count": count,
    });
    for (key, value) in settings.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    load(config, forms)
}

pub(crate) fn load(config: Value, forms: &[Form]) -> Result<Dataset, DataError> {
    let config: DataConfig = serde_json::from_value(config).expect("a data config");
    Dataset::load(&config, &PromptConfig::default(), forms, Seed::new(1))
}

/// A folder with images `cat.png` (40x30) and `dog.png` (20x20), and the given rows as `rows.jsonl`.
pub(crate) fn folder(rows: &[Value]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, width, height) in [("cat.png", 40, 30), ("dog.png", 20, 20)] {
        fs::write(folder.path().join(name), png(width, height)).expect("an image");
    }
    let path = folder.path().join("rows.jsonl");
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    fs::write(&path, lines.join("\n")).expect("rows");
    (folder, path)
}

pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::new(width, height))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("a PNG");
    bytes.into_inner()
}

/// The error and its causes, as the command line prints them.
pub(crate) fn chain(error: &DataError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Roles and content as text, images as `<WIDTHxHEIGHT>`.
pub(crate) fn shape(sample: &Sample) -> String {
    let turns: Vec<String> = sample
        .messages
        .iter()
        .map(|message| {
            let parts: Vec<String> = message
                .content
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Image(image) => format!("<{}x{}>", image.size.width, image.size.height),
                })
                .collect();
            format!("{:?}: {}", message.role, parts.join("|"))
        })
        .collect();
    turns.join(" // ")
}
