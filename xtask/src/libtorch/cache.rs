//! The per-user cache that all clones of the project share.
//!
//! A set appears under its name only when it is complete: it is put together in a temporary folder and renamed.
//! A lock file keeps two clones from building the same set at the same time; the system releases it when its holder
//! dies, so whoever gets it next may remove what an interrupted attempt left. Wheels that were fetched and checked
//! are kept until the set is complete.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use fs4::FileExt;

use super::{
    download::Pip,
    folder,
    wheels::{Recipe, Set, VERSION, Wheel},
};
use crate::console::say;

/// Returns the folder of a set, providing it first where needed.
pub(super) fn provide(set: Set, recipe: &Recipe) -> Result<PathBuf> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create `{}`", cache.display()))?;
    let _lock = lock(&cache)?;

    let done = cache.join(format!("libtorch-{VERSION}-{set}"));
    if complete(&done, recipe).is_ok() {
        return Ok(done);
    }
    require_space(&cache, recipe)?;
    if let Some(note) = recipe.note {
        say(&format!("note: {note}"));
    }

    let pip = Pip::find()?;
    let downloads = cache.join("downloads");
    let wheels: Vec<(&Wheel, PathBuf)> = recipe
        .wheels
        .iter()
        .map(|wheel| Ok((wheel, pip.fetch(wheel, &downloads)?)))
        .collect::<Result<_>>()?;

    let unfinished = cache.join("unfinished");
    remove(&unfinished)?;
    for (wheel, path) in &wheels {
        say(&format!("unpacking {} {}", wheel.package, wheel.version));
        unpack(path, wheel, &unfinished).with_context(|| format!("cannot unpack `{}`", path.display()))?;
    }
    // The build script of torch-sys reads this file and refuses another version.
    fs::write(unfinished.join("build-version"), VERSION)?;
    complete(&unfinished, recipe)?;
    remove(&done)?;
    fs::rename(&unfinished, &done)?;
    remove(&downloads)?;
    Ok(done)
}

/// `$XDG_CACHE_HOME/curr-reft`, or the system's place for caches.
fn cache_dir() -> Result<PathBuf> {
    let home = || env::var_os("HOME").filter(|home| !home.is_empty());
    let base = if let Some(xdg) = env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        PathBuf::from(xdg)
    } else if let Some(home) = home() {
        let below = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        Path::new(&home).join(below)
    } else {
        bail!(
            "neither XDG_CACHE_HOME nor HOME is set, so there is no place for libtorch; set one, or set LIBTORCH"
        );
    };
    Ok(base.join("curr-reft"))
}

fn lock(cache: &Path) -> Result<fs::File> {
    let path = cache.join("libtorch.lock");
    let file = fs::File::create(&path)?;
    if !try_lock(&file)? {
        say("another checkout is providing libtorch; waiting for it");
        FileExt::lock(&file).with_context(|| format!("cannot lock `{}`", path.display()))?;
    }
    Ok(file)
}

fn try_lock(file: &fs::File) -> io::Result<bool> {
    match FileExt::try_lock(file) {
        Ok(()) => Ok(true),
        Err(fs4::TryLockError::WouldBlock) => Ok(false),
        Err(fs4::TryLockError::Error(error)) => Err(error),
    }
}

/// Fails unless all that the set needs is there.
fn complete(dir: &Path, recipe: &Recipe) -> Result<()> {
    folder::check(dir)?;
    for name in recipe.libraries {
        if !dir.join("lib").join(name).is_file() {
            bail!("`{}` has no `lib/{name}`", dir.display());
        }
    }
    Ok(())
}

fn require_space(cache: &Path, recipe: &Recipe) -> Result<()> {
    let free = fs4::available_space(cache)?;
    if free < recipe.disk {
        bail!(
            "`{}` has {:.1} GB free and libtorch needs {:.1} GB while it is unpacked; make room, or put the cache \
             elsewhere with XDG_CACHE_HOME",
            cache.display(),
            free as f64 / 1e9,
            recipe.disk as f64 / 1e9
        );
    }
    Ok(())
}

/// Copies the wanted files of a wheel, which is a zip archive, below `target`.
fn unpack(path: &Path, wheel: &Wheel, target: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(io::BufReader::new(fs::File::open(path)?))?;
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i)?;
        if entry.enclosed_name().is_none() {
            bail!("`{}` leads out of the archive", entry.name());
        }
        let Some(place) = wheel.take.target(entry.name()) else {
            continue;
        };
        if entry.is_dir() {
            continue;
        }
        let place = target.join(place);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = fs::File::create(&place)?;
        io::copy(&mut entry, &mut file)?;
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", dir.display()))
        }
        _ => Ok(()),
    }
}
