//! Dependencies point downwards, and the crates below the tensor line never reach torch-sys.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::{expect_none, files, read, root, torch_free::TORCH_FREE};

/// Packages of one level do not depend on each other, and never on a higher one.
const LEVELS: [&[&str]; 8] = [
    &["reft-core", "reft-remote", "reft-hub", "reft-kernels", "reft-cuda", "reft-allocator"],
    &["reft-config", "reft-autograd", "reft-dist", "reft-math"],
    &["reft-peer-rewards"],
    &[
        "reft-data",
        "reft-reward",
        "reft-curriculum",
        "reft-reject",
        "reft-eval",
        "reft-store",
        "reft-pipeline",
        "reft-fleet",
        "reft-vlm",
        "reft-testkit",
    ],
    &["reft-rollout", "reft-train", "reft-ablation"],
    &["reft-grpo", "reft-serve"],
    &["curr-reft"],
    &["reft-cli", "reft-gpu"],
];

/// The only arrows inside a level.
const SIDEWAYS: [(&str, &str); 3] =
    [("reft-eval", "reft-reward"), ("reft-eval", "reft-data"), ("reft-data", "reft-reward")];

/// Arrows inside a level that exist for tests alone: the loops are tried, and killed, on a real run directory.
const IN_TESTS: [(&str, &str); 1] = [("reft-pipeline", "reft-store")];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn dependencies_point_downwards() {
    let metadata = metadata();
    let members: BTreeSet<&str> = array(&metadata["workspace_members"]).map(text).collect();
    let level = |name: &str| LEVELS.iter().position(|level| level.contains(&name));
    let mut findings = Vec::new();
    for package in array(&metadata["packages"]).filter(|p| members.contains(text(&p["id"]))) {
        let name = text(&package["name"]);
        if name == "xtask" {
            continue;
        }
        let Some(own) = level(name) else {
            findings.push(format!("`{name}` has no level; give it one in this test"));
            continue;
        };
        for dependency in array(&package["dependencies"]) {
            let target = text(&dependency["name"]);
            let Some(other) = level(target) else { continue };
            let in_tests = text(&dependency["kind"]) == "dev";
            let downwards = other < own;
            let arrow = (name, target);
            let excepted = SIDEWAYS.contains(&arrow)
                || (in_tests && (target == "reft-testkit" || IN_TESTS.contains(&arrow)));
            if !downwards && !excepted {
                findings.push(format!("`{name}` (level {own}) depends on `{target}` (level {other})"));
            }
        }
    }
    expect_none(findings);
}

#[test]
fn torch_free_crates_never_reach_torch() {
    let metadata = metadata();
    let names: BTreeMap<&str, &str> =
        array(&metadata["packages"]).map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"]["nodes"]).map(|node| (text(&node["id"]), node)).collect();
    let mut findings = Vec::new();
    for start in array(&metadata["workspace_members"]).map(text).filter(|id| TORCH_FREE.contains(&names[id]))
    {
        let mut seen = BTreeSet::new();
        let mut open = vec![(start, names[start].to_owned())];
        while let Some((id, way)) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            if names[id] == "torch-sys" {
                findings.push(way);
                break;
            }
            for dependency in array(&nodes[id]["deps"]) {
                // Dev-dependencies count for the package itself: its tests must not wait for torch-sys either.
                let counts =
                    id == start || array(&dependency["dep_kinds"]).any(|kind| text(&kind["kind"]) != "dev");
                if counts {
                    let next = text(&dependency["pkg"]);
                    open.push((next, format!("{way} -> {}", names[next])));
                }
            }
        }
    }
    expect_none(findings);
    for name in TORCH_FREE {
        assert!(names.values().any(|other| *other == name), "no package `{name}`");
    }
}

#[test]
fn versions_and_lints_are_set_once() {
    let mut findings = Vec::new();
    for path in files(&["crates", "xtask"], &["toml"]) {
        if path.file_name().is_none_or(|name| name != "Cargo.toml") {
            continue;
        }
        let shown = path.display();
        let manifest: toml::Table = read(&path).parse().unwrap();
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in manifest.get(table).and_then(|t| t.as_table()).into_iter().flatten() {
                if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    findings.push(format!("{shown}: `{name}` is not taken from [workspace.dependencies]"));
                }
            }
        }
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(toml::Value::as_bool) != Some(true) {
            findings.push(format!("{shown}: no `lints.workspace = true`"));
        }
        for key in ["version", "edition", "rust-version", "license"] {
            let inherited = manifest["package"].get(key).and_then(|value| value.get("workspace"));
            if inherited.is_none() {
                findings.push(format!("{shown}: `{key}` is not taken from [workspace.package]"));
            }
        }
    }
    expect_none(findings);
}
