//! Cargo as a child process, with libtorch in reach.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{console::heading, libtorch};

/// The folder of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// A cargo command in the checkout.
pub(crate) fn command(root: &Path, args: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).current_dir(root);
    // Cargo set these for this program. Passing them on would make the child's build differ from a plain cargo
    // command's, and torch-sys, which takes minutes, would be built twice.
    if libtorch::chosen_by_user(root).is_none() {
        cargo.env_remove("LIBTORCH");
    }
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    // The run path of our binaries is relative to the usual target folder; with another one this is needed.
    let (variable, path) = library_path(root);
    cargo.env(variable, path);
    cargo
}

/// Runs a cargo command under a heading; fails when it fails.
pub(crate) fn run(root: &Path, args: &[&str]) -> Result<()> {
    run_with(root, args, &[])
}

/// [`run`] with environment variables.
pub(crate) fn run_with(root: &Path, args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let shown: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .chain(["cargo".to_owned()])
        .chain(args.iter().map(|&arg| arg.to_owned()))
        .collect();
    heading(&shown.join(" "));
    let status =
        command(root, args).envs(variables.iter().copied()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown.join(" "));
    }
    Ok(())
}

/// Runs a program of the workspace as it was built beside this one: `reft`, `examples/NAME`.
pub(crate) fn run_built(root: &Path, program: &str, args: &[&str]) -> Result<()> {
    heading(&format!("{program} {}", args.join(" ")));
    let own = env::current_exe().context("cannot find this program's own file")?;
    run_file(root, &own.with_file_name(program), args)
}

/// Runs a program with libtorch in reach; fails when it fails.
pub(crate) fn run_file(root: &Path, program: &Path, args: &[&str]) -> Result<()> {
    let (variable, libraries) = library_path(root);
    let status = Command::new(program)
        .args(args)
        .current_dir(root)
        .env(variable, libraries)
        .status()
        .with_context(|| format!("cannot start `{}`", program.display()))?;
    if !status.success() {
        bail!("`{}` failed ({status})", program.display());
    }
    Ok(())
}

/// Becomes the other program, so that Ctrl-C and the exit code are its own.
#[cfg(unix)]
pub(crate) fn replace_with(program: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt as _;

    let error = program.exec();
    bail!("cannot start `{}`: {error}", program.get_program().to_string_lossy())
}

#[cfg(not(unix))]
pub(crate) fn replace_with(program: &mut Command) -> Result<()> {
    let name = program.get_program().to_string_lossy().into_owned();
    let status = program.status().with_context(|| format!("cannot start `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed ({status})");
    }
    Ok(())
}

pub(crate) fn library_path(root: &Path) -> (&'static str, OsString) {
    let variable = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
    let mut paths = vec![root.join(".libtorch/lib")];
    if let Some(old) = env::var_os(variable) {
        paths.extend(env::split_paths(&old));
    }
    // A path with a colon in it cannot be handed on; the run path must do then.
    let joined = env::join_paths(paths).unwrap_or_default();
    (variable, joined)
}
