//! Provides libtorch and links it into the checkout as `.libtorch`.
//!
//! Afterwards plain cargo commands work with no environment variables: `.cargo/config.toml` points the build of
//! torch-sys and the run path of every binary at that link.

mod cache;
mod download;
mod folder;
mod wheels;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::console::say;
pub(crate) use wheels::Set;

/// What a command wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Whatever is linked already, else the CPU set.
    Any,
    /// This set.
    Only(Set),
}

/// Makes `.libtorch` in the checkout a link to a libtorch of the right version. A `LIBTORCH` of the user's wins.
pub(crate) fn provide(root: &Path, want: Want) -> Result<()> {
    let link = root.join(".libtorch");
    if let Some(chosen) = chosen_by_user(root) {
        folder::check(&chosen).context("LIBTORCH is set, but cannot be used")?;
        point(&link, &chosen)?;
        say(&format!("libtorch: {} (LIBTORCH)", chosen.display()));
        return Ok(());
    }
    if want == Want::Any && folder::check(&link).is_ok() {
        return Ok(());
    }

    let set = match want {
        Want::Any => Set::Cpu,
        Want::Only(set) => set,
    };
    let (os, arch) = (env::consts::OS, env::consts::ARCH);
    let Some(recipe) = wheels::recipe(os, arch, set) else {
        bail!(
            "no pinned {set} set for {os} on {arch}; unpack libtorch {} (C++ headers and libraries) and set LIBTORCH to \
             its folder",
            wheels::VERSION
        );
    };
    let dir = cache::provide(set, &recipe)?;
    point(&link, &dir)?;
    say(&format!("libtorch: {}", dir.display()));
    Ok(())
}

/// Links the checkout's libtorch into another folder too, for a crate of one's own beside it.
pub(crate) fn link_into(root: &Path, folder: &Path) -> Result<()> {
    let link = folder.join(".libtorch");
    point(&link, &root.join(".libtorch"))?;
    say(&format!("linked: {}", link.display()));
    Ok(())
}

/// The user's `LIBTORCH`. Cargo sets the variable to our own link when it runs this program; that one is not a choice.
pub(crate) fn chosen_by_user(root: &Path) -> Option<PathBuf> {
    let value = PathBuf::from(env::var_os("LIBTORCH").filter(|value| !value.is_empty())?);
    (value != root.join(".libtorch")).then_some(value)
}

/// Makes `link` a symbolic link to `target` in one step, so that no build ever sees it missing.
fn point(link: &Path, target: &Path) -> Result<()> {
    let target = fs::canonicalize(target)?;
    if fs::read_link(link).is_ok_and(|old| old == target) {
        return Ok(());
    }
    if fs::symlink_metadata(link).is_ok_and(|data| !data.is_symlink()) {
        bail!("`{}` is not a link; move it away, so that libtorch can be linked there", link.display());
    }
    let new = link.with_extension(format!("new-{}", std::process::id()));
    symlink(&target, &new)
        .and_then(|()| fs::rename(&new, link))
        .with_context(|| format!("cannot link `{}`", link.display()))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::Error::other("only Unix systems are supported"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_link_follows_its_target_and_replaces_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, link) = (dir.path().join("a"), dir.path().join("b"), dir.path().join(".libtorch"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        for target in [&a, &a, &b] {
            point(&link, target).unwrap();
            assert_eq!(fs::canonicalize(&link).unwrap(), fs::canonicalize(target).unwrap());
        }
        let real = dir.path().join("real");
        fs::create_dir(&real).unwrap();
        assert!(point(&real, &a).unwrap_err().to_string().contains("is not a link"));
    }
}
