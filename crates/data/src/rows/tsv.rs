//! Tab-separated values with a line of names, quoted as spreadsheets do. Every value is text; an empty one is none.

use std::{fs::File, path::Path, sync::Arc};

use csv::{ReaderBuilder, StringRecord};

use super::{Field, Row, Rows};
use crate::{DataError, Place};

pub(super) fn open(path: &Path) -> Result<Rows, DataError> {
    let path = path.to_owned();
    let file =
        File::open(&path).map_err(|source| DataError::Io { action: "read", path: path.clone(), source })?;
    // Rows of another length are reported by their line, with the number of values.
    let mut reader = ReaderBuilder::new().delimiter(b'\t').from_reader(file);
    let fail = |error: csv::Error| DataError::File {
        path: path.clone(),
        message: format!("is no readable TSV file: {error}"),
    };
    let names: Vec<Arc<str>> = reader.headers().map_err(fail)?.iter().map(Arc::from).collect();
    Ok(Box::new(reader.into_records().map(move |record| {
        let record = record.map_err(|error| DataError::File {
            path: path.clone(),
            message: format!("is no readable TSV file: {error}"),
        })?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        Ok((Place::Line(line), row(&names, &record)))
    })))
}

fn row(names: &[Arc<str>], record: &StringRecord) -> Row {
    let fields = record.iter().map(|value| match value {
        "" => Field::Null,
        text => Field::Text(text.to_owned()),
    });
    Row(names.iter().cloned().zip(fields).collect())
}
