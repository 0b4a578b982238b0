//! What every source file owes its reader.

use crate::{expect_none, files, read};

const FOLDERS: [&str; 6] = ["crates", "src", "tests", "examples", "benches", "xtask"];

/// A file that outgrows this holds more than one idea.
const MOST_LINES: usize = 700;

#[test]
fn every_file_says_what_it_is() {
    let findings = files(&FOLDERS, &["rs"])
        .iter()
        .filter(|path| !read(path).starts_with("//!"))
        .map(|path| format!("{}: does not open with `//!`", path.display()))
        .collect();
    expect_none(findings);
}

#[test]
fn files_stay_small() {
    let findings = files(&FOLDERS, &["rs"])
        .iter()
        .map(|path| (path, read(path).lines().count()))
        .filter(|&(_, lines)| lines > MOST_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines, at most {MOST_LINES}", path.display()))
        .collect();
    expect_none(findings);
}

#[test]
fn nothing_is_left_unfinished() {
    // Written in two parts, so that this file does not find itself.
    let words = [
        ("todo", "!("),
        ("unimplemented", "!("),
        ("dbg", "!("),
        ("#[ign", "ore"),
        ("FIX", "ME"),
        ("XX", "X"),
        ("<<<<", "<<<"),
    ]
    .map(|(a, b)| format!("{a}{b}"));
    let mut findings = Vec::new();
    for path in files(&FOLDERS, &["rs", "toml"]) {
        for (i, line) in read(&path).lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                findings.push(format!("{}:{}: `{word}`", path.display(), i + 1));
            }
        }
    }
    expect_none(findings);
}
