//! Documents name only what exists.

use std::path::{Path, PathBuf};

use crate::{expect_none, files, read, root};

#[test]
fn the_architecture_document_matches_the_tree() {
    let path = Path::new("docs/ARCHITECTURE.md");
    let text = read(path);
    let mut findings: Vec<String> = code_spans(&text)
        .filter(|span| looks_like_a_path(span) && !root().join(span).exists())
        .map(|span| format!("{}: `{span}` does not exist", path.display()))
        .collect();
    for crate_dir in std::fs::read_dir(root().join("crates")).unwrap().flatten() {
        let name = format!("crates/{}", crate_dir.file_name().to_string_lossy());
        if !text.contains(&name) {
            findings.push(format!("{}: says nothing of `{name}`", path.display()));
        }
    }
    expect_none(findings);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = files(&["docs", "fixtures"], &["md"]);
    documents.extend(["README.md", "CHANGELOG.md"].map(PathBuf::from));
    let mut findings = Vec::new();
    for document in documents {
        let folder = root().join(document.parent().unwrap());
        for target in links(&read(&document)) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
            if !elsewhere && !folder.join(file).exists() {
                findings.push(format!("{}: `{target}` does not exist", document.display()));
            }
        }
    }
    expect_none(findings);
}

#[test]
fn the_changelog_has_a_section_for_the_version() {
    let manifest: toml::Table = read(Path::new("Cargo.toml")).parse().unwrap();
    let version = manifest["workspace"]["package"]["version"].as_str().unwrap();
    let changelog = read(Path::new("CHANGELOG.md"));
    let found = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .any(|title| title.trim_start_matches('[').starts_with(version));
    assert!(found, "CHANGELOG.md has no section `## {version}`");
}

/// What stands between single backticks, outside of code blocks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    text.lines()
        .filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            in_block ^= fence;
            !in_block && !fence
        })
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// A span that starts like something in the checkout; patterns and commands are not paths.
fn looks_like_a_path(span: &str) -> bool {
    let is_plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let first = span.split('/').next().unwrap_or_default();
    let known_start =
        ["crates", "src", "docs", "tests", "examples", "benches", "configs", "fixtures", "xtask"];
    let is_below =
        span.contains('/') && (known_start.contains(&first) || first == ".ci" || first == ".cargo");
    let is_top_file = !span.contains('/') && [".md", ".toml"].iter().any(|e| span.ends_with(e)) && {
        // `Cargo.toml` and documents at the top; `config.toml` is a file of every run.
        span.starts_with(|c: char| c.is_ascii_uppercase())
    };
    is_plain && (is_below || is_top_file)
}

/// The targets of Markdown links and images.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains(char::is_whitespace)).collect()
}

#[test]
fn what_counts_as_a_path() {
    for (span, expected) in [
        ("crates/core", true),
        ("crates/core/src/lib.rs", true),
        (".ci/run", true),
        ("README.md", true),
        ("config.toml", false),
        ("crates/*/src", false),
        ("runs/demo/run.json", false),
        ("cargo run", false),
        ("Reward::score", false),
    ] {
        assert_eq!(looks_like_a_path(span), expected, "{span}");
    }
    let text = "a `crates/x` b\n```\n`src/y`\n```\n`docs/z.md`";
    assert_eq!(code_spans(text).collect::<Vec<_>>(), ["crates/x", "docs/z.md"]);
    assert_eq!(links("[a](b.md) ![c](d/e.svg) f](g h)"), ["b.md", "d/e.svg"]);
}
