//! A value of a row, freed from the file format it came from.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Map, Value};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes. Shared: rows of a dictionary-encoded column that repeat a value hold the same allocation.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Vec<Field>),
    /// Named values.
    Struct(Row),
    /// A column type that no row format has a use for; named for error messages.
    Unsupported(String),
}

/// Named values in file order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(pub Vec<(Arc<str>, Field)>);

impl Row {
    /// The value of a column; none when the column is missing or the value is null.
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0
            .iter()
            .find(|(key, _)| &**key == name)
            .map(|(_, field)| field)
            .filter(|field| **field != Field::Null)
    }

    /// Whether there is such a column, null or not.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| &**key == name)
    }

    /// The first of several names that has a value.
    pub fn first<'a>(&'a self, names: &[&'a str]) -> Option<(&'a str, &'a Field)> {
        names.iter().find_map(|name| self.get(name).map(|field| (*name, field)))
    }

    /// The row as a JSON object.
    pub fn to_json(&self) -> Map<String, Value> {
        self.0.iter().map(|(name, field)| (name.to_string(), field.to_json())).collect()
    }

    /// The column names, for error messages.
    pub fn names(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|(key, _)| format!("`{key}`")).collect();
        names.join(", ")
    }
}

impl Field {
    /// What it is, for error messages.
    pub fn kind(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Struct(_) => "an object",
            Self::Unsupported(kind) => kind,
        }
    }

    /// The text, when it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as text: text as it is, numbers and truth values written out. Answers are often stored as numbers.
    pub fn display(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Int(n) => Some(n.to_string()),
            Self::Float(x) => Some(x.to_string()),
            Self::Bool(b) => Some(b.to_string()),
            _ => None,
        }
    }

    /// The value as JSON: bytes as base64, null for columns of types without a use.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null | Self::Unsupported(_) => Value::Null,
            Self::Bytes(bytes) => Value::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Self::Bool(value) => Value::from(*value),
            Self::Int(value) => Value::from(*value),
            Self::Float(value) => Value::from(*value),
            Self::Text(text) => Value::from(text.as_str()),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Struct(row) => Value::Object(row.to_json()),
        }
    }

    /// Whether it holds nothing: null, or an empty text, list or object.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Struct(row) => row.0.iter().all(|(_, field)| field.is_empty()),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Bytes(_) | Self::Unsupported(_) => false,
        }
    }

    /// The entries, when it is a list.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(fields) => Some(fields),
            _ => None,
        }
    }
}
