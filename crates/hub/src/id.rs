//! Names of the hub's repositories, as paths of a recipe write them.

use std::{fmt, path::Path};

use hf_hub::{Repo, RepoType};

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// A repository at a revision, or one file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    kind: Kind,
    repo: String,
    revision: Option<String>,
    file: Option<String>,
}

/// The revision where none is named.
const MAIN: &str = "main";
/// The scheme of `huggingface_hub`'s file system.
const SCHEME: &str = "hf://";
/// Digits of a commit.
const COMMIT: usize = 40;

impl HubId {
    /// What a path means, where it means the hub: `hf://ORG/NAME@REVISION`, `hf://datasets/ORG/NAME@REVISION/FILE`.
    pub fn parse(path: &Path) -> Option<Self> {
        let rest = path.to_str()?.strip_prefix(SCHEME)?;
        let (kind, rest) = match rest.strip_prefix("datasets/") {
            Some(rest) => (Kind::Dataset, rest),
            None => (Kind::Model, rest),
        };
        let mut parts = rest.splitn(3, '/');
        let (org, name) = (parts.next()?, parts.next()?);
        let file = parts.next().filter(|file| !file.is_empty()).map(str::to_owned);
        let (name, revision) = match name.split_once('@') {
            Some((name, revision)) => (name, Some(revision.to_owned())),
            None => (name, None),
        };
        let is_whole = is_name(org) && is_name(name) && revision.as_deref().is_none_or(is_name);
        is_whole.then(|| Self { kind, repo: format!("{org}/{name}"), revision, file })
    }

    /// What the path of a model means: as [`HubId::parse`], and `ORG/NAME` or `ORG/NAME@REVISION` where there is no such
    /// folder.
    pub fn of_model(path: &Path) -> Option<Self> {
        let text = path.to_str()?;
        if text.starts_with(SCHEME) {
            return Self::parse(path);
        }
        let is_pair = text.split('/').count() == 2;
        (is_pair && !path.exists()).then(|| Self::parse(Path::new(&format!("{SCHEME}{text}")))).flatten()
    }

    /// `ORG/NAME`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Which file is meant; none for the whole.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// Whether the revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        self.revision().len() == COMMIT && self.revision().bytes().all(|b| b.is_ascii_hexdigit())
    }

    /// The same at another revision.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        Self { revision: Some(revision.to_owned()), ..self.clone() }
    }

    pub(crate) fn as_repo(&self) -> Repo {
        let kind = match self.kind {
            Kind::Model => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(self.repo.clone(), kind, self.revision().to_owned())
    }
}

/// As a recipe writes it, with its scheme.
impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Dataset { "datasets/" } else { "" };
        write!(f, "{SCHEME}{kind}{}", self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        self.file.as_ref().map_or(Ok(()), |file| write!(f, "/{file}"))
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && !text.starts_with('.') && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for text in [
            "hf://Qwen/Qwen2.5-VL-3B-Instruct",
            "hf://Qwen/Qwen2.5-VL-3B-Instruct@v1.0",
            "hf://datasets/lmms-lab/MathVista@0123456789abcdef0123456789abcdef01234567/data/a.parquet",
        ] {
            assert_eq!(HubId::parse(Path::new(text)).unwrap().to_string(), text);
        }
        let id = HubId::parse(Path::new("hf://datasets/a/b@main/data/x.parquet")).unwrap();
        assert_eq!(
            (id.kind(), id.repo(), id.revision(), id.file()),
            (Kind::Dataset, "a/b", "main", Some("data/x.parquet"))
        );
        assert!(!id.is_pinned() && id.at("0123456789abcdef0123456789abcdef01234567").is_pinned());
    }

    #[test]
    fn what_is_no_name_of_the_hub() {
        for text in ["a/b", "hf://a", "hf://../b", "hf://a/..", "hf://a/b@", "hf://a b/c", "https://a/b"] {
            assert_eq!(HubId::parse(Path::new(text)), None, "{text}");
        }
        for (text, is_model) in [
            ("Qwen/Qwen2-VL-2B", true),
            ("Qwen/Qwen2-VL-2B@main", true),
            ("hf://Qwen/Qwen2-VL-2B", true),
            // A folder that is here, and what cannot be a repository.
            ("src/id.rs", false),
            ("../models/qwen", false),
            ("/models/qwen", false),
            ("./qwen", false),
            ("qwen", false),
        ] {
            assert_eq!(HubId::of_model(Path::new(text)).is_some(), is_model, "{text}");
        }
    }
}
