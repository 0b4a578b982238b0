//! A TOML tree that remembers where each value comes from.
//!
//! Files and overrides are merged as such trees, so that a problem found later can name the file that caused it.

use std::{collections::BTreeMap, sync::Arc};

use toml::Value;

/// The file or override that a value comes from.
pub(crate) type Origin = Arc<str>;

/// A value with its origin.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// `[table]`.
    Table(BTreeMap<String, Node>),
    /// `[..]` and `[[..]]`.
    List(Vec<Node>),
    /// Everything else.
    Leaf(Value, Origin),
}

/// Tables that say which variant they are: another variant replaces the table instead of mixing with it.
const TAGS: [&str; 2] = ["type", "kind"];

/// Keys that say the same in two ways: one that is laid over takes the other's place.
const EITHER: [[&str; 2]; 1] = [["steps", "epochs"]];

impl Node {
    /// A tree whose values all come from one place.
    pub(crate) fn new(value: Value, origin: &Origin) -> Self {
        match value {
            Value::Table(table) => {
                Self::Table(table.into_iter().map(|(key, value)| (key, Self::new(value, origin))).collect())
            }
            Value::Array(items) => {
                Self::List(items.into_iter().map(|item| Self::new(item, origin)).collect())
            }
            scalar => Self::Leaf(scalar, origin.clone()),
        }
    }

    /// An empty table.
    pub(crate) fn empty() -> Self {
        Self::Table(BTreeMap::new())
    }

    /// Lays `over` on top: tables merge key by key, everything else is replaced.
    pub(crate) fn merge(&mut self, over: Self) {
        match (self, over) {
            (Self::Table(base), Self::Table(over)) if !another_variant(base, &over) => {
                for other in over.keys().filter_map(|key| other_way(key)) {
                    if !over.contains_key(other) {
                        base.remove(other);
                    }
                }
                for (key, value) in over {
                    match base.get_mut(&key) {
                        Some(old) => old.merge(value),
                        None => {
                            base.insert(key, value);
                        }
                    }
                }
            }
            (base, over) => *base = over,
        }
    }

    /// The entry of a table.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Table(entries) => entries.get(key),
            _ => None,
        }
    }

    /// The text of an entry.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Self::Leaf(Value::String(text), _) => Some(text),
            _ => None,
        }
    }

    /// Takes an entry out of a table.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Self> {
        match self {
            Self::Table(entries) => entries.remove(key),
            _ => None,
        }
    }

    /// Puts a value at a path, making tables on the way. On failure, the part of the path that is not a table.
    pub(crate) fn set(&mut self, path: &[&str], value: Self) -> Result<(), String> {
        let Some((last, tables)) = path.split_last() else {
            return Err(String::new());
        };
        let mut node = self;
        for (depth, key) in tables.iter().enumerate() {
            let Self::Table(entries) = node else {
                return Err(path[..depth].join("."));
            };
            node = entries.entry((*key).to_owned()).or_insert_with(Self::empty);
        }
        let Self::Table(entries) = node else {
            return Err(tables.join("."));
        };
        if let Some(other) = other_way(last) {
            entries.remove(other);
        }
        entries.insert((*last).to_owned(), value);
        Ok(())
    }

    /// The plain value.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Table(entries) => {
                Value::Table(entries.iter().map(|(key, node)| (key.clone(), node.value())).collect())
            }
            Self::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Self::Leaf(value, _) => value.clone(),
        }
    }

    /// The children with their keys as messages and `--set` write them: `a.b`, and for lists `a.NAME` or `a[0]`.
    pub(crate) fn children(&self, key: &str) -> Vec<(String, &Self)> {
        match self {
            Self::Table(entries) => entries.iter().map(|(name, node)| (join(key, name), node)).collect(),
            Self::List(items) => items
                .iter()
                .enumerate()
                .map(|(i, node)| match node.text("name") {
                    Some(name) => (join(key, name), node),
                    None => (format!("{key}[{i}]"), node),
                })
                .collect(),
            Self::Leaf(..) => Vec::new(),
        }
    }

    /// Where the value at `key` comes from; for a key that is not there, where its table comes from.
    pub(crate) fn origin(&self, key: &str) -> Option<&Origin> {
        self.origin_below(key, "")
    }

    fn origin_below(&self, target: &str, key: &str) -> Option<&Origin> {
        if let Self::Leaf(_, origin) = self {
            return Some(origin);
        }
        let children = self.children(key);
        let towards = children.iter().find(|(child, _)| {
            target
                .strip_prefix(child.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        match towards {
            Some((child, node)) => node.origin_below(target, child),
            // The recipe as a whole has no single origin.
            None if key.is_empty() => None,
            None => children.iter().find_map(|(child, node)| node.origin_below(child, child)),
        }
    }
}

/// The key that says the same in another way.
fn other_way(key: &str) -> Option<&'static str> {
    EITHER.iter().find_map(|&[one, other]| match key {
        key if key == one => Some(other),
        key if key == other => Some(one),
        _ => None,
    })
}

/// `key.name`, or `name` at the top.
pub(crate) fn join(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}

fn another_variant(base: &BTreeMap<String, Node>, over: &BTreeMap<String, Node>) -> bool {
    TAGS.iter().any(|tag| match (base.get(*tag), over.get(*tag)) {
        (Some(Node::Leaf(a, _)), Some(Node::Leaf(b, _))) => a != b,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str, origin: &str) -> Node {
        Node::new(Value::Table(text.parse().expect("test TOML")), &Origin::from(origin))
    }

    #[test]
    fn merging() {
        let cases = [
            // (below, above, merged)
            ("a = 1\nb = 2", "b = 3", "a = 1\nb = 3"),
            ("[t]\na = 1\n[t.u]\nb = 2", "[t.u]\nc = 3", "[t]\na = 1\n[t.u]\nb = 2\nc = 3"),
            ("l = [1, 2]", "l = [3]", "l = [3]"),
            ("[[p]]\na = 1\n[[p]]\na = 2", "[[p]]\nb = 3", "[[p]]\nb = 3"),
            // The same variant mixes, another replaces.
            ("[t]\ntype = 'x'\na = 1", "[t]\ntype = 'x'\nb = 2", "[t]\ntype = 'x'\na = 1\nb = 2"),
            ("[t]\ntype = 'x'\na = 1", "[t]\ntype = 'y'\nb = 2", "[t]\ntype = 'y'\nb = 2"),
            ("t = 1", "[t]\na = 2", "[t]\na = 2"),
            // One length replaces the other; both in one file are that file's.
            ("epochs = 1.0\na = 1", "steps = 3", "steps = 3\na = 1"),
            ("steps = 3", "epochs = 0.5", "epochs = 0.5"),
            ("steps = 3", "steps = 0\nepochs = 0.5", "steps = 0\nepochs = 0.5"),
        ];
        for (below, above, merged) in cases {
            let mut base = node(below, "below");
            base.merge(node(above, "above"));
            assert_eq!(base.value(), node(merged, "").value(), "{below} + {above}");
        }
    }

    #[test]
    fn setting_one_length_takes_the_other_away() {
        let mut tree = node("[p]\nepochs = 1.0", "file");
        tree.set(&["p", "steps"], Node::Leaf(Value::Integer(3), Origin::from("--set"))).expect("a table");
        assert_eq!(tree.value(), node("[p]\nsteps = 3", "").value());
    }

    #[test]
    fn origins_survive_merging() {
        let mut base = node("[run]\nseed = 1\nname = 'a'\n[[phase]]\nname = 'p'\nlr = 1", "one");
        base.merge(node("[run]\nseed = 2", "two"));
        let origin = |key| base.origin(key).map(AsRef::as_ref);
        assert_eq!(origin("run.seed"), Some("two"));
        assert_eq!(origin("run.name"), Some("one"));
        assert_eq!(origin("phase.p.lr"), Some("one"));
        assert_eq!(origin("phase.p.missing"), Some("one"));
        assert_eq!(origin("nowhere"), None);
    }
}
