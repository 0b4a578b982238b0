//! Samples and demonstrations to files that this crate, and the Hugging Face `datasets` library, read back.
//!
//! `.parquet` holds everything in one file, images included. `.jsonl` names image files; images that exist only as
//! bytes are put into a folder beside it.

mod jsonl;
mod table;

use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use reft_core::{Demonstration, ImageRef, Sample};

use crate::DataError;

/// One row of an output: a question, and the answer to imitate where there is one.
#[derive(Clone, Copy, Debug)]
struct Item<'a> {
    sample: &'a Sample,
    completion: Option<&'a str>,
}

/// Writes questions: `id`, `images`, `problem`, `solution`, `task`, `form`, `parent`, `box_frame`.
/// The prompt template is not written; it applies again on reading.
pub fn samples(path: &Path, samples: &[Arc<Sample>]) -> Result<(), DataError> {
    let items: Vec<Item<'_>> = samples.iter().map(|sample| Item { sample, completion: None }).collect();
    match ending(path)? {
        Ending::Parquet => table::write(path, &items),
        Ending::Jsonl => jsonl::write(path, &items),
    }
}

/// Writes demonstrations: `.jsonl` as chat rows whose last turn is the assistant's, `.parquet` as question rows with a
/// column `completion`.
pub fn demonstrations(path: &Path, demonstrations: &[Demonstration]) -> Result<(), DataError> {
    let items: Vec<Item<'_>> =
        demonstrations.iter().map(|d| Item { sample: &d.sample, completion: Some(&d.completion) }).collect();
    match ending(path)? {
        Ending::Parquet => table::write(path, &items),
        Ending::Jsonl => jsonl::write(path, &items),
    }
}

/// A path as seen from a folder: how rows name the files beside them.
pub fn relative(path: &Path, folder: &Path) -> PathBuf {
    let absolute = |path: &Path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let mut normal = PathBuf::new();
        for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
            match part {
                Component::ParentDir => drop(normal.pop()),
                part => normal.push(part),
            }
        }
        normal
    };
    let (path, folder) = (absolute(path), absolute(folder));
    let (mut to, mut from) = (path.components().peekable(), folder.components().peekable());
    while to.peek().is_some() && to.peek() == from.peek() {
        to.next();
        from.next();
    }
    from.map(|_| Component::ParentDir).chain(to).collect()
}

/// A file that appears when it is whole: a full disk leaves none, not half of one.
struct Whole {
    path: PathBuf,
    temporary: PathBuf,
}

impl Whole {
    fn begin(path: &Path) -> Self {
        let mut name = std::ffi::OsString::from(".tmp-");
        name.push(path.file_name().unwrap_or_default());
        let temporary = path.with_file_name(name);
        Self { path: path.to_owned(), temporary }
    }

    fn create(&self) -> Result<fs::File, DataError> {
        fs::File::create(&self.temporary).map_err(io_error(&self.path))
    }

    fn end(self, written: &fs::File) -> Result<(), DataError> {
        written
            .sync_all()
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .map_err(io_error(&self.path))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Gone already where all went well.
        let _ = fs::remove_file(&self.temporary);
    }
}

enum Ending {
    Parquet,
    Jsonl,
}

fn ending(path: &Path) -> Result<Ending, DataError> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("parquet") => Ok(Ending::Parquet),
        Some("jsonl") => Ok(Ending::Jsonl),
        _ => Err(DataError::File {
            path: path.to_owned(),
            message: "data sets are written as `.parquet` or `.jsonl`; name the output so".into(),
        }),
    }
}

fn io_error(path: &Path) -> impl Fn(std::io::Error) -> DataError + '_ {
    move |source| DataError::Io { action: "write", path: path.to_owned(), source }
}

/// The encoded bytes of an image, which may be on disk.
fn read(image: &ImageRef) -> Result<Arc<[u8]>, DataError> {
    let error = |source| DataError::Io { action: "read", path: image.label.as_ref().into(), source };
    image.source.read().map_err(error)
}

/// How a box frame is written in a row.
fn frame_name(sample: &Sample) -> &'static str {
    match sample.box_frame {
        reft_core::BoxFrame::Original => "original",
        reft_core::BoxFrame::ModelInput => "model_input",
        reft_core::BoxFrame::Unit => "unit",
        reft_core::BoxFrame::Thousand => "thousand",
    }
}
