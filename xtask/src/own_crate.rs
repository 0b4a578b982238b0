//! The template for a crate outside the checkout, built and run where it would be: in a folder of its own.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{
    cargo::{command, run_file},
    console::heading,
};

/// Copies `examples/own_crate` out of the checkout, does what its README says, and runs the smoke recipe with it.
///
/// It builds into the checkout's target folder with the checkout's profiles and libtorch, so that what the tests have
/// compiled is not compiled again.
pub(crate) fn check(root: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (template, own) = (root.join("examples/own_crate"), folder.path());
    for name in ["src", ".cargo"] {
        fs::create_dir(own.join(name))?;
    }
    for name in ["src/main.rs", ".cargo/config.toml"] {
        fs::copy(template.join(name), own.join(name)).with_context(|| format!("cannot copy `{name}`"))?;
    }
    fs::copy(root.join("Cargo.lock"), own.join("Cargo.lock"))?;
    let manifest = fs::read_to_string(template.join("Cargo.toml"))?.replace("../..", &root.to_string_lossy());
    // Without features its libraries would have other features than those of the tests, and all be compiled again.
    let manifest = manifest.replace(", default-features = false", "");
    let profiles = profiles(&fs::read_to_string(root.join("Cargo.toml"))?);
    fs::write(own.join("Cargo.toml"), format!("{manifest}\n{profiles}"))?;

    heading("cargo build (examples/own_crate, outside the checkout)");
    let target = root.join("target");
    let status = command(root, &["build", "--quiet"])
        .current_dir(own)
        .env("CARGO_TARGET_DIR", &target)
        .env("LIBTORCH", root.join(".libtorch"))
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the template of a crate outside the checkout does not build ({status})");
    let runs = own.join("runs");
    let program = target.join("debug").join(format!("own-reft{}", std::env::consts::EXE_SUFFIX));
    run_file(root, &program, &["train", "configs/smoke.toml", "--runs", &runs.to_string_lossy()])
}

/// The profiles of a manifest.
fn profiles(manifest: &str) -> String {
    let sections: Vec<&str> =
        manifest.split("\n[").filter(|section| section.starts_with("profile.")).collect();
    if sections.is_empty() { String::new() } else { format!("[{}\n", sections.join("\n[")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_alone_are_taken() {
        let manifest = "[package]\nname = \"a\"\n\n[profile.dev]\ndebug = 1\n\n[dependencies]\nb = \"1\"\n\n[profile.release]\nlto = true\n";
        assert_eq!(profiles(manifest), "[profile.dev]\ndebug = 1\n\n[profile.release]\nlto = true\n\n");
    }
}
