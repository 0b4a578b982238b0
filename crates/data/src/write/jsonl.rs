//! JSON Lines: question rows, or chat rows for demonstrations. Images are files, named relative to the rows.

use std::{
    fs,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use reft_core::{ImageRef, ImageSource, Part, Role, Sample};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Item, Whole, frame_name, io_error, read, relative};
use crate::DataError;

pub(super) fn write(path: &Path, items: &[Item<'_>]) -> Result<(), DataError> {
    let images = Images::beside(path);
    let whole = Whole::begin(path);
    let mut out = BufWriter::new(whole.create()?);
    for item in items {
        let row = match item.completion {
            Some(completion) => chat_row(item.sample, completion, &images)?,
            None => question_row(item.sample, &images)?,
        };
        writeln!(out, "{row}").map_err(io_error(path))?;
    }
    let file = out.into_inner().map_err(|error| io_error(path)(error.into_error()))?;
    whole.end(&file)
}

fn question_row(sample: &Sample, images: &Images) -> Result<Value, DataError> {
    let names = sample.images().map(|image| images.name(image)).collect::<Result<Vec<_>, _>>()?;
    let mut row = facts(sample);
    match &names[..] {
        [] => {}
        [name] => row["image"] = json!(name),
        names => row["images"] = json!(names),
    }
    Ok(row)
}

fn chat_row(sample: &Sample, completion: &str, images: &Images) -> Result<Value, DataError> {
    let mut messages = Vec::with_capacity(sample.messages.len() + 1);
    for message in &sample.messages {
        let content = message
            .content
            .iter()
            .map(|part| {
                Ok(match part {
                    Part::Text(text) => json!({"type": "text", "text": text}),
                    Part::Image(image) => json!({"type": "image", "image": images.name(image)?}),
                })
            })
            .collect::<Result<Vec<_>, DataError>>()?;
        messages.push(json!({"role": message.role, "content": content}));
    }
    messages.push(json!({"role": Role::Assistant, "content": [{"type": "text", "text": completion}]}));
    let mut row = facts(sample);
    row["messages"] = json!(messages);
    Ok(row)
}

fn facts(sample: &Sample) -> Value {
    let mut row = json!({
        "id": sample.id,
        "problem": sample.problem,
        "solution": sample.solution,
        "task": sample.task,
        "form": sample.form,
        "box_frame": frame_name(sample),
    });
    if let Some(parent) = &sample.parent {
        row["parent"] = json!(parent);
    }
    row
}

/// The folder for images that have no file yet: `rows.jsonl` gets `rows-images/`.
struct Images {
    base: PathBuf,
    folder: String,
}

impl Images {
    fn beside(path: &Path) -> Self {
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Self { base: path.parent().unwrap_or(Path::new("")).to_owned(), folder: format!("{stem}-images") }
    }

    /// The name of an image in the rows. Files are named by their content, so that a shared image is written once.
    fn name(&self, image: &ImageRef) -> Result<String, DataError> {
        if let ImageSource::Path(path) = &image.source {
            return Ok(self.existing(path));
        }
        let bytes = read(image)?;
        let hash = Sha256::digest(&bytes);
        let digits = hash.iter().take(10).fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"));
        let kind = image::guess_format(&bytes).ok().and_then(|format| format.extensions_str().first());
        let name = format!("{}/{digits}.{}", self.folder, kind.unwrap_or(&"bin"));
        let file = self.base.join(&name);
        if !file.exists() {
            let folder = self.base.join(&self.folder);
            fs::create_dir_all(&folder).map_err(io_error(&folder))?;
            fs::write(&file, &bytes).map_err(io_error(&file))?;
        }
        Ok(name)
    }

    /// A file's path from the rows' folder.
    fn existing(&self, path: &Path) -> String {
        relative(path, &self.base).to_string_lossy().into_owned()
    }
}
