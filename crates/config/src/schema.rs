//! The JSON schema of a recipe file, for editors and for [`crate::structure`].

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{Recipe, structure::tag_value};

/// The kinds of phases; each may have a table of defaults at the top of a recipe.
pub(crate) const KINDS: [&str; 4] = ["sft", "grpo", "reject", "eval"];

/// The schema of a recipe file as editors take it, kind tables included.
pub(crate) fn published() -> Value {
    let mut schema = inlined();
    for kind in KINDS {
        let mut table = kind_table(&schema, kind);
        table["description"] = json!(format!("Defaults of every `{kind}` phase."));
        schema["properties"][kind] = table;
    }
    schema["title"] = json!("curr-reft recipe");
    schema["description"] = json!(
        "One run: `[run]`, `[model]`, `[prompt]`, `[data.NAME]`, and `[[phase]]` in order. Relative paths start at the \
         working directory."
    );
    schema
}

/// The schema of the config structs without references.
pub(crate) fn inlined() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    SchemaGenerator::new(settings).into_root_schema_for::<Recipe>().to_value()
}

/// The schema of a kind's table of defaults: the phase's, with nothing required and neither kind nor name.
pub(crate) fn kind_table(recipe: &Value, kind: &str) -> Value {
    let variants = recipe["properties"]["phase"]["items"]["oneOf"].as_array();
    let mut table = variants
        .into_iter()
        .flatten()
        .find(|variant| tag_value(variant, "kind") == Some(kind))
        .cloned()
        .unwrap_or_default();
    if let Some(table) = table.as_object_mut() {
        table.remove("required");
        if let Some(properties) = table.get_mut("properties").and_then(Value::as_object_mut) {
            properties.remove("kind");
            properties.remove("name");
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_table_with_its_settings() {
        let schema = published();
        for (kind, key) in
            [("sft", "batch_size"), ("grpo", "kl_coef"), ("reject", "threshold"), ("eval", "sampling")]
        {
            let properties = &schema["properties"][kind]["properties"];
            assert!(properties[key].is_object(), "{kind}.{key}");
            assert!(properties["name"].is_null() && properties["kind"].is_null());
        }
    }

    #[test]
    fn every_key_is_documented() {
        fn walk(schema: &Value, key: &str, missing: &mut Vec<String>) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let child = format!("{key}.{name}");
                if property["const"].is_null() && property["description"].is_null() {
                    missing.push(child.clone());
                }
                walk(property, &child, missing);
            }
            for inner in [&schema["items"], &schema["additionalProperties"]] {
                if inner.is_object() {
                    walk(inner, key, missing);
                }
            }
            for variant in schema["oneOf"].as_array().into_iter().flatten() {
                walk(variant, key, missing);
            }
        }
        let mut missing = Vec::new();
        walk(&published(), "", &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }
}
