//! Reads JSON that a model did not finish: a small part of what the `json_repair` package does.

use serde_json::Value;

/// Deepest nesting that is repaired.
const MAX_DEPTH: usize = 100;

/// Reads JSON; where it is broken, closes what is open, drops commas without items, and takes single quotes and bare
/// words for texts.
pub(super) fn read_repaired(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| {
        let start = text.find(['[', '{'])?;
        Repair { rest: &text[start..], depth: 0 }.value()
    })
}

struct Repair<'a> {
    rest: &'a str,
    depth: usize,
}

impl Repair<'_> {
    fn value(&mut self) -> Option<Value> {
        self.space();
        match self.rest.chars().next()? {
            '[' => self.nested(Self::list),
            '{' => self.nested(Self::object),
            quote @ ('"' | '\'') => Some(Value::String(self.text(quote))),
            ']' | '}' | ',' | ':' => None,
            _ => Some(self.word()),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Value) -> Option<Value> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        self.rest = &self.rest[1..];
        let value = read(self);
        self.depth -= 1;
        Some(value)
    }

    fn list(&mut self) -> Value {
        let mut items = Vec::new();
        loop {
            self.skip(',');
            if self.rest.is_empty() || self.eat(']') {
                return Value::Array(items);
            }
            let before = self.rest;
            match self.value() {
                // A key: the list was never closed.
                Some(Value::String(_)) if self.rest.trim_start().starts_with(':') => {
                    self.rest = before;
                    return Value::Array(items);
                }
                Some(item) => items.push(item),
                // The end of something outside.
                None => return Value::Array(items),
            }
        }
    }

    fn object(&mut self) -> Value {
        let mut fields = serde_json::Map::new();
        loop {
            self.skip(',');
            if self.rest.is_empty() || self.eat('}') {
                return Value::Object(fields);
            }
            let Some(key) = self.value() else {
                return Value::Object(fields);
            };
            self.skip(':');
            let value = self.value().unwrap_or_else(|| Value::String(String::new()));
            // A key that is no text is left out: written as text it could double at every level.
            if let Value::String(key) = key {
                fields.insert(key, value);
            }
        }
    }

    fn text(&mut self, quote: char) -> String {
        let inner = &self.rest[1..];
        let (text, rest) = inner.split_once(quote).unwrap_or_else(|| {
            // Without a closing quote, a mark ends the text.
            inner.split_at(inner.find([',', ']', '}']).unwrap_or(inner.len()))
        });
        self.rest = rest;
        text.trim_end().to_owned()
    }

    /// A number, a constant, or anything else up to the next mark.
    fn word(&mut self) -> Value {
        let starts_number = self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let ends = |c: char| ",]}:\n".contains(c) || (starts_number && c == ' ');
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        let word = word.trim().trim_end_matches(['"', '\'']);
        serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.to_owned()))
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, mark: char) -> bool {
        self.space();
        let after = self.rest.strip_prefix(mark);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn skip(&mut self, mark: char) {
        while self.eat(mark) {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn broken_json_is_closed() {
        for (text, expected) in [
            ("[{\"a\": [1, 2], \"b\": \"c\"},", json!([{"a": [1, 2], "b": "c"}])),
            ("[{'a': [1, 2", json!([{"a": [1, 2]}])),
            ("[{\"a\": \"cut of", json!([{"a": "cut of"}])),
            ("[1, 2,]", json!([1, 2])),
            ("{a: b}", json!({"a": "b"})),
        ] {
            assert_eq!(read_repaired(text), Some(expected), "{text}");
        }
        assert_eq!(read_repaired("no list"), None);
        for noise in ["[", "{", "[{", "{\"", "{'a': {", "[[{\"bbox_2d\": ["] {
            assert!(read_repaired(&noise.repeat(20_000)).is_some(), "{noise}");
        }
    }
}
