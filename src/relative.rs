//! Image paths of rows that move to another file: they stay relative to the file that holds them.

use std::path::{Path, PathBuf};

use reft_data::write::relative;
use serde_json::{Map, Value};

/// Columns and fields that may name image files.
const NAMES: [&str; 5] = ["image", "images", "path", "url", "image_url"];

/// Rewrites the image paths of a row that was read from `input` and is written to `output`.
pub(crate) fn rebase(row: &mut Map<String, Value>, input: &Path, output: &Path) {
    let folder = |file: &Path| file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let (from, to) = (folder(input), folder(output));
    if relative(&from, &to).as_os_str().is_empty() {
        return;
    }
    let paths = Paths { from: &from, to: &to };
    for (name, value) in row.iter_mut() {
        match name.as_str() {
            "messages" | "prompt" => paths.in_chat(value),
            "image" | "images" => paths.in_images(value),
            _ => {}
        }
    }
}

struct Paths<'a> {
    from: &'a Path,
    to: &'a Path,
}

impl Paths<'_> {
    fn in_chat(&self, turns: &mut Value) {
        let parts = turns.as_array_mut().into_iter().flatten();
        let parts = parts.filter_map(|turn| turn.get_mut("content")?.as_array_mut()).flatten();
        for part in parts.filter(|part| part["type"] != "text") {
            self.in_images(part);
        }
    }

    /// A path, or whatever holds paths under the usual names.
    fn in_images(&self, value: &mut Value) {
        match value {
            Value::String(path) => *path = self.moved(path),
            Value::Array(items) => items.iter_mut().for_each(|item| self.in_images(item)),
            // With bytes beside it, a path is only a name.
            Value::Object(fields) if fields.get("bytes").is_none_or(Value::is_null) => {
                let named = fields.iter_mut().filter(|(name, _)| NAMES.contains(&name.as_str()));
                named.for_each(|(_, value)| self.in_images(value));
            }
            _ => {}
        }
    }

    fn moved(&self, path: &str) -> String {
        let is_path = !path.starts_with("data:") && !path.contains("://") && Path::new(path).is_relative();
        if !is_path {
            return path.to_owned();
        }
        relative(&self.from.join(path), self.to).to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_stay_relative_to_their_file() {
        let mut row = json!({
            "images": ["a.png", "/abs/b.png", {"path": "c.png", "bytes": null}, {"path": "c.png", "bytes": "AA=="}],
            "messages": [{"role": "user", "content": [
                {"type": "image", "image": "a.png"}, {"type": "image_url", "image_url": {"url": "data:x"}},
                {"type": "text", "text": "a.png"},
            ]}],
            "path": "a.png",
        });
        let row = row.as_object_mut().unwrap();
        rebase(row, Path::new("data/train/rows.jsonl"), Path::new("runs/out.jsonl"));
        let expected = json!({
            "images": [
                "../data/train/a.png", "/abs/b.png", {"path": "../data/train/c.png", "bytes": null},
                {"path": "c.png", "bytes": "AA=="},
            ],
            "messages": [{"role": "user", "content": [
                {"type": "image", "image": "../data/train/a.png"}, {"type": "image_url", "image_url": {"url": "data:x"}},
                {"type": "text", "text": "a.png"},
            ]}],
            "path": "a.png",
        });
        assert_eq!(Value::Object(row.clone()), expected);
        let before = row.clone();
        rebase(row, Path::new("runs/x.jsonl"), Path::new("runs/y.jsonl"));
        assert_eq!(*row, before);
    }
}
