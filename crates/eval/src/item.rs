//! A question of a published benchmark, and how columns of its row are read.

use reft_math::python;
use serde_json::{Map, Value};

/// A question as its benchmark publishes it, whichever file it came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    /// Unique within the benchmark; empty where its rows have none.
    pub id: String,
    /// The question, without what a prompt adds.
    pub question: String,
    /// Options by their letters; empty where the question has none, or has them in its text or picture.
    pub options: Vec<(char, String)>,
    /// The right answer as the graders compare it: a letter where there are options.
    pub answer: String,
    /// What decides whether an answer is right, for the grader `ours`.
    pub kind: AnswerKind,
    /// The row.
    pub row: Map<String, Value>,
}

/// What kind of answer is right.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AnswerKind {
    /// One or more option letters.
    Choice,
    /// Yes or no.
    YesNo,
    /// A whole number.
    Integer,
    /// A number, equal within half a unit of the last of these decimals.
    Decimal(usize),
    /// A number, equal within this absolute error.
    Near(f64),
    /// A number, equal within 5 %, or a text.
    Relaxed,
    /// A mathematical expression.
    Math,
    /// A list of numbers.
    List,
    /// One of several texts, which the answer may hold beside other words.
    Contains(Vec<String>),
    /// A box in pixels of the image, of this width and height.
    Box {
        /// Left, top, right, bottom.
        corners: [f64; 4],
        /// Width and height of the image.
        size: (f64, f64),
    },
    /// A text.
    #[default]
    Text,
    /// Free prose that only a judge can grade.
    Prose,
}

impl Item {
    /// A question with its row; options, answer and kind are the benchmark's to add. The id is empty where no column holds
    /// one.
    pub(crate) fn new(row: &Map<String, Value>, id: &[&str]) -> Self {
        let id = first(row, id).unwrap_or_default();
        let question = text(row, "question").or_else(|| text(row, "problem")).unwrap_or_default();
        Self { id, question, row: row.clone(), ..Self::default() }
    }

    /// A column as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        text(&self.row, name)
    }

    /// A value of the `metadata` column: an object, or the text of a Python dictionary of texts.
    pub(crate) fn metadata(&self, name: &str) -> Option<Value> {
        match self.row.get("metadata")? {
            Value::Object(metadata) => metadata.get(name).cloned(),
            // As VLMEvalKit reads it.
            Value::String(text) => {
                serde_json::from_str::<Map<String, Value>>(&text.replace('\'', "\"")).ok()?.remove(name)
            }
            _ => None,
        }
    }

    /// The values of a key, which is an entry of the metadata or a column: several where it holds a list, none where it is
    /// missing or empty.
    pub(crate) fn values(&self, key: &str) -> Vec<String> {
        match self.metadata(key).as_ref().or_else(|| self.row.get(key)) {
            Some(Value::Array(entries)) => {
                entries.iter().filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
            }
            Some(Value::String(text)) if text.is_empty() => Vec::new(),
            Some(Value::String(text)) => python::list(text).unwrap_or_else(|| vec![text.clone()]),
            _ => self.text(key).into_iter().collect(),
        }
    }

    /// The option letters.
    pub(crate) fn letters(&self) -> Vec<char> {
        self.options.iter().map(|(letter, _)| *letter).collect()
    }

    /// The text of an option.
    pub(crate) fn option(&self, letter: char) -> Option<&str> {
        self.options.iter().find(|(l, _)| *l == letter).map(|(_, text)| text.as_str())
    }
}

/// A column as text: texts as they are, numbers written out; none for null and for what is missing.
pub(crate) fn text(row: &Map<String, Value>, name: &str) -> Option<String> {
    match row.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => whole.to_string(),
            None => python::float_text(number.as_f64()?),
        }),
        Value::Bool(value) => Some(if *value { "True" } else { "False" }.to_owned()),
        _ => None,
    }
}

/// The first column that is there.
pub(crate) fn first(row: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| text(row, name))
}

/// A column that must be there.
pub(crate) fn required(row: &Map<String, Value>, names: &[&str]) -> Result<String, String> {
    first(row, names).ok_or_else(|| {
        let columns: Vec<&str> = row.keys().map(String::as_str).collect();
        format!("none of the columns `{}` is there; it has `{}`", names.join("`, `"), columns.join("`, `"))
    })
}

/// A column that holds texts: a list, or a list that was written as text. None where it is missing or something else.
pub(crate) fn texts(row: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    match row.get(name)? {
        Value::Array(entries) => Some(
            entries
                .iter()
                .map(|entry| entry.as_str().map_or_else(|| entry.to_string(), str::to_owned))
                .collect(),
        ),
        Value::String(text) => serde_json::from_str(text).ok().or_else(|| python::list(text)),
        _ => None,
    }
}

/// Letters from A on for options in order.
pub(crate) fn lettered(options: Vec<String>) -> Vec<(char, String)> {
    ('A'..='Z').zip(options).collect()
}

/// Options of a TSV row: columns `A`, `B` and so on, each under its own letter; an empty cell is no option.
pub(crate) fn columns(row: &Map<String, Value>) -> Vec<(char, String)> {
    let option = |letter: char| text(row, letter.encode_utf8(&mut [0; 4])).filter(|text| !text.is_empty());
    ('A'..='Z').filter_map(|letter| Some((letter, option(letter)?))).collect()
}

/// Options of a row in either layout.
pub(crate) fn options(row: &Map<String, Value>) -> Vec<(char, String)> {
    let listed = ["options", "choices"].iter().find_map(|name| texts(row, name));
    listed.map_or_else(|| columns(row), lettered)
}
