//! What can be wrong with a recipe.

use std::{fmt, path::PathBuf};

/// One thing wrong with a recipe: where, what, and which file said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as `--set` takes it (`phase.binary.lr`); empty for the recipe as a whole.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// The file or override that the value comes from, where one can be named.
    pub origin: Option<String>,
}

impl Problem {
    /// A problem whose origin is not known yet.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), origin: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => Ok(()),
        }
    }
}

/// A recipe that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No recipe file was named.
    #[error("no recipe given; name at least one TOML file")]
    NoFiles,
    /// A file that cannot be read.
    #[error("cannot read recipe `{}`: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not TOML.
    #[error("`{origin}` is not valid TOML: {message}")]
    Syntax {
        /// Which file.
        origin: String,
        /// The parser's words, with line and column.
        message: String,
    },
    /// An override that cannot be applied.
    #[error("cannot apply `--set {text}`: {reason}")]
    Override {
        /// The override as it was given.
        text: String,
        /// Why, and what would do.
        reason: String,
    },
    /// Everything wrong with the values, at once.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
    /// A recipe that TOML cannot hold.
    #[error("the recipe cannot be written as TOML: {0}")]
    Write(#[from] toml::ser::Error),
}

fn list(problems: &[Problem]) -> String {
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    problems
        .iter()
        .fold(format!("{count} in the recipe"), |text, problem| text + "\n  " + &problem.to_string())
}
