//! Rows in and out of files, for the commands that add columns to what they read.
//!
//! A row is a JSON object, whatever the file is: `.jsonl` or `.parquet`, decided by the ending. Columns keep their
//! order. Bytes in a Parquet file become base64 text.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::json::{ReaderBuilder, reader::infer_json_schema_from_iterator};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use reft_data::{DataError, Location, rows};
use serde_json::{Map, Value};

/// A row.
pub type Row = Map<String, Value>;

/// A table that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A file that cannot be read.
    #[error(transparent)]
    Read(#[from] DataError),
    /// A file ending that says no format.
    #[error("`{}`: cannot tell the format to write; end the name in `.jsonl` or `.parquet`", path.display())]
    Ending {
        /// The path as given.
        path: PathBuf,
    },
    /// A file that cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Rows that do not fit one Parquet schema.
    #[error("cannot write `{}`: {message}; `.jsonl` takes any rows", path.display())]
    Schema {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
}

/// A file format for rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jsonl,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Result<Self, TableError> {
        let ending = path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
        match ending.as_deref().and_then(|ending| ending.to_str()) {
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(TableError::Ending { path: path.to_owned() }),
        }
    }
}

/// Reads all rows, each with its location in the file.
pub fn read(path: &Path) -> Result<Vec<(Location, Row)>, TableError> {
    rows::open(path)?
        .map(|row| {
            let (location, row) = row?;
            Ok((location, row.to_json()))
        })
        .collect()
}

/// Fails early, before hours of work, when rows could not be written to `path`.
pub fn check_output(path: &Path) -> Result<(), TableError> {
    Format::of(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).map_err(|source| TableError::Write { path: path.to_owned(), source })?;
    }
    Ok(())
}

/// Writes rows. The file appears when it is whole.
pub fn write(path: &Path, rows: &[Row]) -> Result<(), TableError> {
    check_output(path)?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = match Format::of(path)? {
        Format::Jsonl => write_jsonl(&partial, rows),
        Format::Parquet => write_parquet(&partial, path, rows)?,
    };
    written
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|source| TableError::Write { path: path.to_owned(), source })
}

fn write_jsonl(path: &Path, rows: &[Row]) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for row in rows {
        serde_json::to_writer(&mut file, row)?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?.sync_all()
}

/// The outer error is about the rows, the inner one about the disk.
fn write_parquet(partial: &Path, path: &Path, rows: &[Row]) -> Result<std::io::Result<()>, TableError> {
    let unfit = |message: String| TableError::Schema { path: path.to_owned(), message };
    let values: Vec<Value> = rows.iter().cloned().map(Value::Object).collect();
    let schema = infer_json_schema_from_iterator(values.iter().map(Ok)).map_err(|e| unfit(e.to_string()))?;
    let mut decoder = ReaderBuilder::new(Arc::new(schema))
        .with_batch_size(rows.len().max(1))
        .build_decoder()
        .map_err(|e| unfit(e.to_string()))?;
    decoder.serialize(&values).map_err(|e| unfit(e.to_string()))?;
    let batch = decoder.flush().map_err(|e| unfit(e.to_string()))?;

    let file = match File::create(partial) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let settings = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let Some(batch) = batch else {
        return Err(unfit("there is no row, so there are no columns".to_owned()));
    };
    let mut writer =
        ArrowWriter::try_new(&file, batch.schema(), Some(settings)).map_err(|e| unfit(e.to_string()))?;
    writer.write(&batch).and_then(|()| writer.close().map(drop)).map_err(|e| unfit(e.to_string()))?;
    Ok(file.sync_all())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows() -> Vec<Row> {
        let values = [
            json!({"b": "x", "a": 1, "list": [1.5, 2.0], "inner": {"t": "u"}, "score": null}),
            json!({"b": "y", "a": 2, "list": [], "inner": {"t": "v"}, "score": 0.5}),
        ];
        values.into_iter().map(|value| value.as_object().unwrap().clone()).collect()
    }

    #[test]
    fn rows_survive_both_formats() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["rows.jsonl", "rows.parquet", "deep/er/rows.parquet"] {
            let path = dir.path().join(name);
            write(&path, &rows()).unwrap();
            let again: Vec<Row> = read(&path).unwrap().into_iter().map(|(_, row)| row).collect();
            assert_eq!(again, rows(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let error = write(&dir.path().join("rows.csv"), &rows()).unwrap_err().to_string();
        assert!(error.contains("end the name in `.jsonl` or `.parquet`"), "{error}");
        let mixed = [json!({"a": [1]}), json!({"a": {"b": 1}})];
        let mixed = mixed.map(|value| value.as_object().unwrap().clone());
        let error = write(&dir.path().join("rows.parquet"), &mixed).unwrap_err().to_string();
        assert!(error.contains("rows.parquet") && error.contains("`.jsonl` takes any rows"), "{error}");
        assert!(!dir.path().join("rows.parquet").exists());
    }
}
