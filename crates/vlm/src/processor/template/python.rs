//! What values look like in Python: when they are printed, as JSON, and the methods that texts have there.

use std::fmt::Write as _;

use minijinja::{
    Error, ErrorKind, Output, State, Value,
    value::{Kwargs, ValueKind, from_args},
};

/// Writes a value into the prompt as `str(value)`; what is undefined is left out.
pub(super) fn write(out: &mut Output<'_>, _state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    Ok(out.write_str(&text(value)?)?)
}

/// `str(value)`.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None if value.is_undefined() => Ok(String::new()),
        None => repr(value),
    }
}

/// Jinja's filter `trim`, which takes any value as its text.
pub(super) fn trim(value: &Value, of: Option<&str>) -> Result<String, Error> {
    let text = text(value)?;
    Ok(match of {
        Some(of) => text.trim_matches(|c| of.contains(c)).to_owned(),
        None => text.trim().to_owned(),
    })
}

/// Jinja's filters `upper` and `lower`, which take any value as its text.
pub(super) fn cased(value: &Value, case: &str) -> Result<String, Error> {
    let text = text(value)?;
    Ok(if case == "upper" { text.to_uppercase() } else { text.to_lowercase() })
}

/// `len(value)`, 0 of what is undefined.
pub(super) fn length(value: &Value) -> Result<usize, Error> {
    let length = if value.is_undefined() { Some(0) } else { value.len() };
    length.ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, format!("a value of type {} has no length", value.kind()))
    })
}

/// `repr(value)`.
fn repr(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| repr(&item)).collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let entries = value.try_iter()?.map(|key| {
                let item = value.get_item(&key)?;
                Ok(format!("{}: {}", repr(&key)?, repr(&item)?))
            });
            format!("{{{}}}", entries.collect::<Result<Vec<_>, Error>>()?.join(", "))
        }
        _ => value.to_string(),
    })
}

/// A text as Python quotes it: in double quotes only where it has single ones and no double ones.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `json.dumps`, with the defaults that `transformers` gives its filter `tojson`.
pub(super) fn to_json(value: &Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        None => None,
        Some(indent) => match (indent.as_str(), indent.as_usize()) {
            (Some(text), _) => Some(text.to_owned()),
            (None, Some(n)) => Some(" ".repeat(n.min(64))),
            (None, None) => None,
        },
    };
    let separators = kwargs.get::<Option<Vec<String>>>("separators")?;
    let [comma, colon] = match separators.as_deref() {
        Some([comma, colon]) => [comma.clone(), colon.clone()],
        _ => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
    };
    let ascii = kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sorted = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    let mut json = Json { indent, comma, colon, ascii, sorted, out: String::new() };
    json.value(value, 0)?;
    Ok(json.out)
}

struct Json {
    indent: Option<String>,
    comma: String,
    colon: String,
    ascii: bool,
    sorted: bool,
    out: String,
}

impl Json {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined => {
                return Err(Error::new(ErrorKind::BadSerialization, "an undefined value is no JSON"));
            }
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.group(['[', ']'], items.len(), depth, |json, i| json.value(&items[i], depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.group(['{', '}'], keys.len(), depth, |json, i| {
                    json.string(&keys[i].to_string());
                    json.out.push_str(&json.colon.clone());
                    json.value(&value.get_item(&keys[i])?, depth + 1)
                })?;
            }
            _ => self.out.push_str(&value.to_string()),
        }
        Ok(())
    }

    fn group(
        &mut self,
        [open, close]: [char; 2],
        n: usize,
        depth: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for i in 0..n {
            if i > 0 {
                self.out.push_str(&self.comma.clone());
            }
            self.line(depth + 1);
            item(self, i)?;
        }
        if n > 0 {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// Methods of Python's texts that our engine's list of them lacks.
pub(super) fn method(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args);
    };
    let parts = |found: Option<(&str, &str)>, separator: &str, otherwise: [&str; 3]| {
        let parts = found.map_or(otherwise, |(before, behind)| [before, separator, behind]);
        // A separator of the template, not of the text, so that it stays what it was.
        Value::from(parts.map(ToOwned::to_owned).to_vec())
    };
    match method {
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            Ok(parts(text.split_once(separator), separator, [text, "", ""]))
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            Ok(parts(text.rsplit_once(separator), separator, ["", "", text]))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        "rsplit" => {
            let (separator, most): (&str, Option<i64>) = from_args(args)?;
            let pieces: Vec<&str> = match most.filter(|most| *most >= 0) {
                Some(most) => text.rsplitn(most as usize + 1, separator).collect(),
                None => text.rsplit(separator).collect(),
            };
            Ok(pieces.into_iter().rev().map(ToOwned::to_owned).collect::<Vec<String>>().into())
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}
