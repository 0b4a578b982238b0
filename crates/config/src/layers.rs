//! From files and overrides to one recipe.
//!
//! Order, weakest first: built-in defaults, files from left to right, the kind tables (`[grpo]`, ...) under the phases
//! of their kind, the phases themselves, overrides.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::Value as Schema;
use toml::Value;

use crate::{
    ConfigError, Problem, Recipe,
    nearest::suggestion,
    node::{Node, Origin, join},
    schema::{self, KINDS},
    structure::{self, Required},
};

/// What a phase of a kind starts from where its struct's own defaults do not fit.
/// A `[phase.sampling]` of an `eval` phase that names only `max_new_tokens` must stay greedy.
const BUILT_IN: &str = "[eval.sampling]\ngroup_size = 1\ntemperature = 0.0\n";

/// What the origin of an override begins with.
const SET: &str = "--set ";

/// A checked recipe that still knows where its values come from.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The recipe.
    pub recipe: Recipe,
    tree: Node,
}

impl Resolved {
    /// Reads files (later ones override earlier ones) and applies overrides (`run.seed=3`, `grpo.lr=1e-6` for all
    /// phases of a kind, `phase.NAME.steps=5` for one).
    pub fn read(files: &[PathBuf], overrides: &[String]) -> Result<Self, ConfigError> {
        if files.is_empty() {
            return Err(ConfigError::NoFiles);
        }
        let mut tree = Node::empty();
        for path in files {
            let text = reft_core::read_text(path)
                .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            tree.merge(parse(&text, &path.display().to_string())?);
        }
        Self::build(tree, overrides)
    }

    /// Reads one recipe from text; `origin` names it in messages.
    pub fn from_text(text: &str, origin: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::build(parse(text, origin)?, overrides)
    }

    /// Problems with the files that the recipe names; relative paths start at `base`, the working directory of a run.
    pub fn check_files(&self, base: &Path) -> Result<(), ConfigError> {
        fail_on(self.recipe.missing_files(base), &self.tree)
    }

    fn build(mut tree: Node, overrides: &[String]) -> Result<Self, ConfigError> {
        let schema = schema::inlined();
        let mut problems = Vec::new();
        spread_kind_tables(&mut tree, &schema, &mut problems)?;
        for text in overrides {
            apply(&mut tree, text)?;
        }

        structure::check(&tree, &schema, "", Required::Yes, &mut problems);
        fail_on(problems, &tree)?;
        let recipe: Recipe = tree.value().try_into().map_err(|error: toml::de::Error| {
            ConfigError::Invalid(vec![Problem::new("", error.message())])
        })?;
        fail_on(recipe.validate(), &tree)?;
        Ok(Self { recipe, tree })
    }
}

fn parse(text: &str, origin: &str) -> Result<Node, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        origin: origin.to_owned(),
        message: error.to_string(),
    })?;
    Ok(Node::new(Value::Table(table), &Origin::from(origin)))
}

/// Takes `[grpo]`, `[sft]`, ... out of the tree and lays each under the phases of its kind.
fn spread_kind_tables(
    tree: &mut Node,
    schema: &Schema,
    problems: &mut Vec<Problem>,
) -> Result<(), ConfigError> {
    let mut defaults = parse(BUILT_IN, "built-in default")?;
    for kind in KINDS {
        let Some(table) = tree.remove(kind) else {
            continue;
        };
        let before = problems.len();
        structure::check(&table, &schema::kind_table(schema, kind), kind, Required::No, problems);
        for problem in &mut problems[before..] {
            let rooted = Node::Table([(kind.to_owned(), table.clone())].into());
            problem.origin = rooted.origin(&problem.key).map(ToString::to_string);
        }
        // A faulty table would repeat its faults in every phase.
        if problems.len() == before {
            defaults.merge(Node::Table([(kind.to_owned(), table)].into()));
        }
    }

    if let Some(Node::List(phases)) = get_mut(tree, "phase") {
        for phase in phases {
            let table = phase.text("kind").and_then(|kind| defaults.get(kind));
            if let (Some(table), Node::Table(_)) = (table, &*phase) {
                lay_under(phase, table.clone());
            }
            if let Some(validation) = get_mut(phase, "validation") {
                let mut table = defaults.get("eval").cloned().unwrap_or_else(Node::empty);
                // What is asked at the end should not decide what is kept unless the recipe says so.
                table.remove("data");
                table.remove("benchmarks");
                lay_under(validation, table);
            }
        }
    }
    Ok(())
}

/// Gives `node` what `defaults` has and it has not.
fn lay_under(node: &mut Node, mut defaults: Node) {
    defaults.merge(std::mem::replace(node, Node::empty()));
    *node = defaults;
}

/// Applies one `--set key=value`.
fn apply(tree: &mut Node, text: &str) -> Result<(), ConfigError> {
    let fail = |reason: String| ConfigError::Override { text: text.to_owned(), reason };
    let (key, value) = text.split_once('=').ok_or_else(|| fail("expected `key=value`".to_owned()))?;
    let path: Vec<&str> = key.trim().split('.').map(str::trim).collect();
    if path.iter().any(|part| part.is_empty()) {
        return Err(fail("expected a key such as `run.seed`".to_owned()));
    }
    let value = Node::new(parse_value(value.trim()), &Origin::from(format!("{SET}{text}")));
    let not_a_table = |at: String| fail(format!("`{at}` is not a table"));

    match path.as_slice() {
        ["phase", name, rest @ ..] if !rest.is_empty() => {
            let phases = phases(tree);
            let names: Vec<String> =
                phases.iter().filter_map(|phase| phase.text("name").map(ToOwned::to_owned)).collect();
            let phase =
                phases.iter_mut().find(|phase| phase.text("name") == Some(name)).ok_or_else(|| {
                    let hint = suggestion(name, names.iter().map(String::as_str));
                    fail(format!("no phase is named `{name}`{hint}"))
                })?;
            phase.set(rest, value).map_err(|at| not_a_table(join(&format!("phase.{name}"), &at)))
        }
        ["phase", ..] => {
            Err(fail("expected `phase.NAME.key=value`; phases themselves belong in a file".to_owned()))
        }
        [kind, rest @ ..] if KINDS.contains(kind) && !rest.is_empty() => {
            let mut found = false;
            for phase in phases(tree) {
                if phase.text("kind") == Some(kind) {
                    found = true;
                    phase.set(rest, value.clone()).map_err(|at| not_a_table(join(kind, &at)))?;
                }
            }
            if found { Ok(()) } else { Err(fail(format!("the recipe has no `{kind}` phase"))) }
        }
        path => tree.set(path, value).map_err(not_a_table),
    }
}

/// The value as TOML; what is not TOML is a string, so that `model.path=some/folder` needs no quotes.
fn parse_value(text: &str) -> Value {
    let parsed = format!("v = {text}")
        .parse::<toml::Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("v"));
    match parsed {
        // No key takes a date; a run may well be named like one.
        None | Some(Value::Datetime(_)) => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

fn phases(tree: &mut Node) -> &mut [Node] {
    match get_mut(tree, "phase") {
        Some(Node::List(phases)) => phases,
        _ => &mut [],
    }
}

fn get_mut<'a>(tree: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    match tree {
        Node::Table(entries) => entries.get_mut(key),
        _ => None,
    }
}

/// Fails with all problems, each with the origin of its value.
fn fail_on(mut problems: Vec<Problem>, tree: &Node) -> Result<(), ConfigError> {
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &mut problems {
        if problem.origin.is_none() {
            problem.origin = tree.origin(&problem.key).map(ToString::to_string);
        }
    }
    // `--set grpo.KEY=..` reaches every phase of the kind and is one slip.
    let mut seen = BTreeSet::new();
    problems.retain(|problem| match &problem.origin {
        Some(origin) if origin.starts_with(SET) => seen.insert((origin.clone(), problem.message.clone())),
        _ => true,
    });
    Err(ConfigError::Invalid(problems))
}
