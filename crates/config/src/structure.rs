//! Checks a recipe's tree against the JSON schema of the config structs: keys, types, names of choices.
//!
//! Serde would stop at the first fault and cannot name a key inside a tagged enum.
//! This reports every fault with its full key. It understands the part of JSON schema that our structs produce; what
//! it does not understand it leaves to serde.

use serde_json::Value as Schema;
use toml::Value;

use crate::{
    Problem,
    foreign::translation,
    nearest::suggestion,
    node::{Node, join},
};

/// Whether required keys must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Required {
    /// A complete table.
    Yes,
    /// A table of defaults.
    No,
}

/// Reports all faults of `node`, which sits at `key`.
pub(crate) fn check(
    node: &Node,
    schema: &Schema,
    key: &str,
    required: Required,
    problems: &mut Vec<Problem>,
) {
    if let Some(variants) = schema["oneOf"].as_array() {
        return check_choice(node, variants, key, required, problems);
    }
    match (type_name(schema), node) {
        ("object", Node::Table(_)) => check_table(node, schema, key, required, problems),
        ("array", Node::List(_)) => {
            for (child, item) in node.children(key) {
                check(item, &schema["items"], &child, Required::Yes, problems);
            }
        }
        ("string", Node::Leaf(Value::String(text), _)) => {
            let known = strings(&schema["enum"]);
            if !known.is_empty() && !known.contains(&text.as_str()) {
                problems.push(unknown_name(key, text, &known));
            }
        }
        ("integer", Node::Leaf(Value::Integer(number), _)) => {
            if schema["minimum"].as_i64().is_some_and(|min| *number < min) {
                problems
                    .push(Problem::new(key, format!("`{number}` must not be below {}", schema["minimum"])));
            }
        }
        ("number", Node::Leaf(Value::Integer(_) | Value::Float(_), _))
        | ("boolean", Node::Leaf(Value::Boolean(_), _))
        | ("", _) => {}
        (expected, _) => problems
            .push(Problem::new(key, format!("expected {}, found {}", article(expected), describe(node)))),
    }
}

fn check_table(node: &Node, schema: &Schema, key: &str, required: Required, problems: &mut Vec<Problem>) {
    let Node::Table(entries) = node else { return };
    let known = schema["properties"].as_object();
    let others = &schema["additionalProperties"];
    for (name, value) in entries {
        let child = join(key, name);
        if let Some(schema) = known.and_then(|known| known.get(name)) {
            check(value, schema, &child, required, problems);
        } else if others.is_object() {
            check(value, others, &child, required, problems);
        } else if others.as_bool() == Some(false) {
            let names = known.into_iter().flatten().map(|(name, _)| name.as_str());
            let names: Vec<_> = names.collect();
            let hint = translation(name).unwrap_or_else(|| suggestion(name, names.iter().copied()));
            problems.push(Problem::new(child, format!("unknown key{hint}")));
        }
    }
    if required == Required::Yes {
        for name in strings(&schema["required"]) {
            if !entries.contains_key(name) {
                problems.push(Problem::new(join(key, name), "missing"));
            }
        }
    }
}

/// A choice is either one of several names, or a table whose tag says which variant it is.
fn check_choice(
    node: &Node,
    variants: &[Schema],
    key: &str,
    required: Required,
    problems: &mut Vec<Problem>,
) {
    let names: Vec<&str> = variants.iter().filter_map(|v| v["const"].as_str()).collect();
    if names.len() == variants.len() {
        match node {
            Node::Leaf(Value::String(text), _) if names.contains(&text.as_str()) => {}
            Node::Leaf(Value::String(text), _) => problems.push(unknown_name(key, text, &names)),
            _ => problems.push(Problem::new(
                key,
                format!("expected one of {}, found {}", quoted(&names), describe(node)),
            )),
        }
        return;
    }

    let Some(tag) = tag_of(variants) else { return };
    let names: Vec<&str> = variants.iter().filter_map(|v| tag_value(v, tag)).collect();
    if !matches!(node, Node::Table(_)) {
        problems.push(Problem::new(key, format!("expected a table with `{tag}`, found {}", describe(node))));
        return;
    }
    let chosen = node.text(tag);
    match variants.iter().find(|v| chosen.is_some() && tag_value(v, tag) == chosen) {
        Some(variant) => check(node, variant, key, required, problems),
        None => match chosen {
            Some(text) => problems.push(unknown_name(&join(key, tag), text, &names)),
            None if required == Required::Yes => {
                problems.push(Problem::new(join(key, tag), format!("missing; one of {}", quoted(&names))));
            }
            None => {}
        },
    }
}

/// The name of the property that tells variants apart.
pub(crate) fn tag_of(variants: &[Schema]) -> Option<&str> {
    let (name, _) = variants
        .first()?
        .get("properties")?
        .as_object()?
        .iter()
        .find(|(_, property)| property["const"].is_string())?;
    Some(name)
}

/// Which variant a schema describes.
pub(crate) fn tag_value<'a>(variant: &'a Schema, tag: &str) -> Option<&'a str> {
    variant["properties"][tag]["const"].as_str()
}

/// The schema's type; of an optional value, the type when it is there.
fn type_name(schema: &Schema) -> &str {
    match &schema["type"] {
        Schema::String(name) => name,
        Schema::Array(names) => {
            names.iter().filter_map(Schema::as_str).find(|&name| name != "null").unwrap_or_default()
        }
        _ => "",
    }
}

fn strings(schema: &Schema) -> Vec<&str> {
    schema.as_array().into_iter().flatten().filter_map(Schema::as_str).collect()
}

fn unknown_name(key: &str, text: &str, known: &[&str]) -> Problem {
    Problem::new(key, format!("`{text}` is not one of {}", quoted(known)))
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn article(type_name: &str) -> String {
    match type_name {
        "object" => "a table".to_owned(),
        "array" => "a list".to_owned(),
        "integer" => "an integer".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => format!("a {other}"),
    }
}

fn describe(node: &Node) -> String {
    match node {
        Node::Table(_) => "a table".to_owned(),
        Node::List(_) => "a list".to_owned(),
        Node::Leaf(Value::String(text), _) => format!("the string \"{text}\""),
        Node::Leaf(value, _) => format!("{} `{value}`", value.type_str()),
    }
}
