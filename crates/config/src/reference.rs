//! Every key of a recipe as a page to read, made from the JSON schema: `docs/RECIPE.md`.

use std::{collections::HashMap, fmt::Write as _};

use serde_json::Value;

use crate::{schema, structure::tag_value};

/// What stands before the tables.
const HEAD: &str = "\
# Recipes, key by key

Every table and key of a recipe with its type, its default and what it means, made from the code by
`reft config reference > docs/RECIPE.md`.
`reft config schema` prints the same as JSON schema, `reft config show RECIPE.toml` a recipe with every default written out,
and `reft config check RECIPE.toml` names every problem of one.

A recipe is `[run]`, `[model]`, `[prompt]`, data sets `[data.NAME]`, and `[[phase]]` in the order in which they run.
`[sft]`, `[grpo]`, `[reject]` and `[eval]` hold defaults of the phases of their kind, with the same keys.
`--set grpo.lr=1e-6` changes a key of all phases of a kind, `--set phase.NAME.lr=1e-6` of one.
A file that is given later, a phase over its kind and `--set` win, key by key; `steps` that win take the place of `epochs`, and the other way round.
A default `required` means that the key has to be given, `none` that it may be left out.
";

/// The page as Markdown.
pub(crate) fn page() -> String {
    let schema = schema::inlined();
    let mut page = Page { text: HEAD.to_owned(), seen: HashMap::new() };
    for name in ["run", "model", "prompt"] {
        page.table(2, &format!("[{name}]"), &schema["properties"][name]);
    }
    page.union(2, "[data.NAME]", &schema["properties"]["data"]["additionalProperties"], "type");
    let phases = schema["properties"]["phase"]["items"]["oneOf"].as_array();
    for phase in phases.into_iter().flatten() {
        let path = format!("[[phase]] kind = \"{}\"", tag_value(phase, "kind").unwrap_or_default());
        page.heading(2, &path, phase);
        page.keys(2, &path, phase, Some("kind"));
    }
    page.text
}

/// The page so far.
struct Page {
    text: String,
    /// Where a table was written, by what it holds: the same one is named and not written again.
    seen: HashMap<String, String>,
}

/// A key of which more is to be said.
struct Nested<'a> {
    name: &'a str,
    schema: &'a Value,
}

impl Page {
    /// A heading, a sentence, and the keys of a table; then the tables within it.
    fn table(&mut self, depth: usize, path: &str, schema: &Value) {
        self.heading(depth, path, schema);
        self.keys(depth, path, schema, None);
    }

    fn heading(&mut self, depth: usize, path: &str, schema: &Value) {
        let _ = writeln!(self.text, "\n{} `{path}`", "#".repeat(depth));
        if let Some(description) = schema["description"].as_str() {
            let _ = writeln!(self.text, "\n{description}");
        }
    }

    /// The keys of a table but for the one that tells its variant.
    fn keys(&mut self, depth: usize, path: &str, schema: &Value, tag: Option<&str>) {
        let properties = schema["properties"].as_object().into_iter().flatten();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let (mut rows, mut nested) = (String::new(), Vec::new());
        for (name, property) in properties.filter(|(name, _)| Some(name.as_str()) != tag) {
            let inner = Nested { name, schema: property };
            let (kind, more) = match self.known(&inner) {
                Some(place) => (format!("table, as `{place}`"), false),
                None => (kind(property), is_table(inner_of(property))),
            };
            if more {
                self.seen.insert(fingerprint(inner_of(property)), within(path, name));
                nested.push(inner);
            }
            let default = match &property["default"] {
                Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
                Value::Null => "none".to_owned(),
                Value::Object(_) => String::new(),
                value => format!("`{value}`"),
            };
            let _ = writeln!(rows, "| `{name}` | {kind} | {default} | {} |", meaning(property));
        }
        if !rows.is_empty() {
            let _ = write!(self.text, "\n| key | type | default | |\n|---|---|---|---|\n{rows}");
        }
        for Nested { name, schema } in nested {
            let (path, inner) = (within(path, name), inner_of(schema));
            if let Some(tag) = tag_of(inner) {
                self.union(depth + 1, &path, schema, tag);
            } else {
                self.heading(depth + 1, &path, schema);
                self.keys(depth + 1, &path, inner, None);
            }
        }
    }

    /// A table that is one of several.
    fn union(&mut self, depth: usize, path: &str, schema: &Value, tag: &str) {
        self.heading(depth, path, schema);
        let variants = || inner_of(schema)["oneOf"].as_array().into_iter().flatten();
        let _ = writeln!(self.text, "\n| `{tag}` | |\n|---|---|");
        for variant in variants() {
            let name = tag_value(variant, tag).unwrap_or_default();
            let _ = writeln!(self.text, "| `{name}` | {} |", one_line(&variant["description"]));
        }
        for variant in
            variants().filter(|variant| variant["properties"].as_object().is_some_and(|p| p.len() > 1))
        {
            let name = tag_value(variant, tag).unwrap_or_default();
            let _ = writeln!(self.text, "\nWith `{tag} = \"{name}\"`:");
            self.keys(depth, path, variant, Some(tag));
        }
    }

    fn known(&self, nested: &Nested<'_>) -> Option<&String> {
        let inner = inner_of(nested.schema);
        is_table(inner).then(|| self.seen.get(&fingerprint(inner))).flatten()
    }
}

/// What a list or a map holds, the table of a value that may also be something simpler, or the value itself.
fn inner_of(schema: &Value) -> &Value {
    let held =
        [&schema["items"], &schema["additionalProperties"]].into_iter().find(|inner| inner.is_object());
    let table = || schema["anyOf"].as_array()?.iter().find(|option| is_table(option));
    held.or_else(table).unwrap_or(schema)
}

fn is_table(schema: &Value) -> bool {
    schema["properties"].is_object() || tag_of(schema).is_some()
}

/// The key that tells the variants of a union of tables apart.
fn tag_of(schema: &Value) -> Option<&'static str> {
    let first = schema["oneOf"].as_array()?.iter().find(|variant| variant["properties"].is_object())?;
    ["type", "kind", "mode"].into_iter().find(|tag| first["properties"][*tag]["const"].is_string())
}

/// What makes a table the same as another.
fn fingerprint(schema: &Value) -> String {
    let mut bare = schema.clone();
    if let Some(object) = bare.as_object_mut() {
        object.remove("description");
        object.remove("default");
    }
    bare.to_string()
}

/// `[run.x]` of `x` within `[run]`; `[phase.x]` within a phase.
fn within(path: &str, name: &str) -> String {
    let parent = match path.strip_prefix("[[phase]]") {
        Some(_) => "phase",
        None => path.trim_matches(['[', ']']),
    };
    format!("[{parent}.{name}]")
}

/// The type in words.
fn kind(schema: &Value) -> String {
    if is_table(schema) {
        return "table".into();
    }
    if schema["items"].is_object() {
        return format!("list of {}", kind(&schema["items"]));
    }
    if schema["additionalProperties"].is_object() {
        return "table by name".into();
    }
    let values = values(schema);
    if !values.is_empty() {
        return values.join(", ");
    }
    let options = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    if let Some(options) = options {
        let kinds: Vec<String> = options.iter().filter(|option| option["type"] != "null").map(kind).collect();
        return kinds.join(" or ");
    }
    let named = |name: &str| match name {
        "integer" => "whole number",
        "number" => "number",
        "boolean" => "`true`, `false`",
        "string" => "text",
        "array" => "list",
        _ => "table",
    };
    match &schema["type"] {
        Value::String(name) => named(name).to_owned(),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.map(named).collect::<Vec<_>>().join(" or ")
        }
        _ => "any".into(),
    }
}

/// The values of a choice, as they are written.
fn values(schema: &Value) -> Vec<String> {
    let listed = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten();
    let described = described.flat_map(|option| match option["enum"].as_array() {
        Some(values) => values.iter().collect(),
        None => vec![&option["const"]],
    });
    listed.chain(described).filter(|value| !value.is_null()).map(|value| format!("`{value}`")).collect()
}

/// What a key means, and what each value of a choice does.
fn meaning(schema: &Value) -> String {
    let options = schema["oneOf"].as_array().into_iter().flatten();
    let described = options.filter_map(|option| {
        let value = option["const"].as_str()?;
        Some(format!("<br>`{value}`: {}", option["description"].as_str()?))
    });
    one_line(&schema["description"]) + &described.map(|text| escaped(&text)).collect::<String>()
}

fn one_line(text: &Value) -> String {
    escaped(text.as_str().unwrap_or_default())
}

/// Within a cell of a table.
fn escaped(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_defaults_and_choices_are_told() {
        let page = page();
        for line in [
            "## `[run]`",
            "| `seed` | whole number | `0` | Seed of every random number of the run. |",
            "| `path` | text | required | Hugging Face folder",
            "## `[[phase]] kind = \"grpo\"`",
            "### `[phase.kl]`",
            "<br>`k3`: `exp(d) - d - 1`: unbiased",
            "With `type = \"scenes\"`:",
            "| `sec` | A bandit over categories",
        ] {
            assert!(page.contains(line), "no `{line}` in\n{page}");
        }
        assert!(page.lines().all(|line| !line.starts_with('|') || line.ends_with('|')));
    }

    #[test]
    fn every_key_of_the_schema_is_on_the_page() {
        fn walk(schema: &Value, keys: &mut Vec<String>) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if property["const"].is_null() {
                    keys.push(name.clone());
                }
            }
            match schema {
                Value::Object(fields) => fields.values().for_each(|value| walk(value, keys)),
                Value::Array(items) => items.iter().for_each(|value| walk(value, keys)),
                _ => {}
            }
        }
        let mut keys = Vec::new();
        let schema = schema::inlined();
        walk(&schema, &mut keys);
        let page = page();
        let top = ["run", "model", "prompt", "data", "phase"];
        for key in keys.iter().filter(|key| !top.contains(&key.as_str())) {
            assert!(page.contains(&format!("| `{key}` |")), "{key}");
        }
    }

    #[test]
    fn the_document_is_the_page() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/RECIPE.md");
        let document = std::fs::read_to_string(path).unwrap_or_default();
        assert!(document == page(), "run `reft config reference > docs/RECIPE.md`");
    }
}
