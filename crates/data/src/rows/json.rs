//! JSON Lines, one object per line, empty lines skipped; and whole JSON files, as authors publish small benchmarks.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    sync::Arc,
};

use reft_core::{open_regular, read_text, without_bom};
use serde_json::Value;

use super::{Field, Row, Rows};
use crate::{DataError, Location};

pub(super) fn open(path: &Path) -> Result<Rows, DataError> {
    let path = path.to_owned();
    let file =
        open_regular(&path).map_err(|source| DataError::Io { action: "read", path: path.clone(), source })?;
    let lines = BufReader::new(file).split(b'\n').enumerate();
    Ok(Box::new(lines.filter_map(move |(index, line)| {
        let location = Location::Line(index + 1);
        let line = match line {
            Ok(line) => line,
            Err(source) => {
                return Some(Err(DataError::Io { action: "read", path: path.clone(), source }));
            }
        };
        let line = if index == 0 { without_bom(&line) } else { &line };
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let fail = |message: String| DataError::Row { path: path.clone(), location, message };
        Some(match serde_json::from_slice::<Value>(line) {
            Ok(Value::Object(object)) => Ok((location, row(object))),
            Ok(_) => Err(fail("is no JSON object".into())),
            Err(error) => Err(fail(format!("is no JSON: {error}"))),
        })
    })))
}

/// A list of objects, or an object of objects by id, which becomes the `id` of those that have none.
pub(super) fn open_whole(path: &Path) -> Result<Rows, DataError> {
    let text =
        read_text(path).map_err(|source| DataError::Io { action: "read", path: path.to_owned(), source })?;
    let file = |message: String| DataError::File { path: path.to_owned(), message };
    let object = |at: String, value: Value| match value {
        Value::Object(object) => Ok(object),
        _ => Err(file(format!("entry {at} is no object"))),
    };
    let rows = match serde_json::from_str(&text).map_err(|error| file(format!("is no JSON: {error}")))? {
        Value::Array(values) => values
            .into_iter()
            .enumerate()
            .map(|(at, value)| Ok(row(object(at.to_string(), value)?)))
            .collect::<Result<Vec<Row>, DataError>>()?,
        Value::Object(by_id) => by_id
            .into_iter()
            .map(|(id, value)| {
                let mut object = object(format!("`{id}`"), value)?;
                object.entry("id").or_insert_with(|| Value::from(id));
                Ok(row(object))
            })
            .collect::<Result<_, DataError>>()?,
        _ => return Err(file("is neither a list of objects nor an object of them".to_owned())),
    };
    Ok(Box::new(rows.into_iter().enumerate().map(|(at, row)| Ok((Location::Row(at), row)))))
}

fn row(object: serde_json::Map<String, Value>) -> Row {
    Row(object.into_iter().map(|(key, value)| (Arc::from(key), field(value))).collect())
}

pub(crate) fn field(value: Value) -> Field {
    match value {
        Value::Null => Field::Null,
        Value::Bool(b) => Field::Bool(b),
        Value::Number(n) => match n.as_i64() {
            Some(n) => Field::Int(n),
            None => Field::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Field::Text(text),
        Value::Array(values) => Field::List(values.into_iter().map(field).collect()),
        Value::Object(object) => Field::Struct(row(object)),
    }
}
