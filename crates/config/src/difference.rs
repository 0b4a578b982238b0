//! What two recipes have different, key by key.

use std::collections::BTreeMap;

use toml::Value;

/// `key: before -> after` for every key whose value differs, sorted; `-` stands for a key that is not there. A text that is no
/// TOML differs as a whole.
pub fn difference(before: &str, after: &str) -> Vec<String> {
    let flat = |text: &str| {
        let mut keys = BTreeMap::new();
        match text.parse::<toml::Table>() {
            Ok(table) => flatten("", &Value::Table(table), &mut keys),
            Err(_) => drop(keys.insert("the file".to_owned(), "no TOML".to_owned())),
        }
        keys
    };
    let (before, after) = (flat(before), flat(after));
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let shown = |value: Option<&String>| value.map_or("-", String::as_str).to_owned();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| format!("{key}: {} -> {}", shown(before.get(key)), shown(after.get(key))))
        .collect()
}

fn flatten(key: &str, value: &Value, keys: &mut BTreeMap<String, String>) {
    let below = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") };
    match value {
        Value::Table(table) => table.iter().for_each(|(name, value)| flatten(&below(name), value, keys)),
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for (i, item) in items.iter().enumerate() {
                // A phase is known by its name.
                let name =
                    item.get("name").and_then(Value::as_str).map_or_else(|| i.to_string(), ToOwned::to_owned);
                flatten(&below(&name), item, keys);
            }
        }
        value => drop(keys.insert(key.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ() {
        let before = "[run]\nseed = 1\n[[phase]]\nname = \"open\"\nlr = 1e-6\nforms = [\"open\"]\n";
        let after = before.replace("seed = 1", "seed = 1\nkeep = 2").replace("1e-6", "2e-6");
        assert_eq!(difference(before, &after), ["phase.open.lr: 0.000001 -> 0.000002", "run.keep: - -> 2"]);
        assert!(difference(before, before).is_empty());
        assert_eq!(difference("= 1", "= 2"), Vec::<String>::new());
    }
}
