//! Is a folder the libtorch that tch wants?

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::wheels::VERSION;

/// Where the version stands, newest layout first.
const VERSION_HEADERS: [&str; 2] =
    ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"];

/// Fails, saying why, unless `dir` holds headers and libraries of the right version.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let shown = dir.display();
    let library = if cfg!(target_os = "macos") { "lib/libtorch_cpu.dylib" } else { "lib/libtorch_cpu.so" };
    if !dir.join(library).is_file() {
        bail!("`{shown}` has no `{library}`");
    }
    let version =
        version(dir).with_context(|| format!("cannot tell the version of libtorch in `{shown}`"))?;
    if version != VERSION {
        bail!("`{shown}` is libtorch {version}, but tch needs {VERSION}");
    }
    Ok(())
}

/// The version that the headers state.
fn version(dir: &Path) -> Result<String> {
    for header in VERSION_HEADERS {
        let Ok(text) = fs::read_to_string(dir.join(header)) else {
            continue;
        };
        let part = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix("#define TORCH_VERSION_")?.strip_prefix(name))
                .map(str::trim)
        };
        if let (Some(major), Some(minor), Some(patch)) = (part("MAJOR "), part("MINOR "), part("PATCH ")) {
            return Ok(format!("{major}.{minor}.{patch}"));
        }
    }
    bail!("no `{}`", VERSION_HEADERS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the given version in its header, and perhaps a library.
    fn folder(version: Option<&str>, library: bool) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("lib")).unwrap();
        if library {
            for name in ["libtorch_cpu.so", "libtorch_cpu.dylib"] {
                fs::write(dir.path().join("lib").join(name), "").unwrap();
            }
        }
        if let Some(version) = version {
            let header = dir.path().join(VERSION_HEADERS[0]);
            fs::create_dir_all(header.parent().unwrap()).unwrap();
            let names = ["MAJOR", "MINOR", "PATCH"];
            let lines: Vec<_> = names
                .iter()
                .zip(version.split('.'))
                .map(|(name, n)| format!("#define TORCH_VERSION_{name} {n}\n"))
                .collect();
            fs::write(header, lines.concat()).unwrap();
        }
        dir
    }

    #[test]
    fn folders() {
        for (version, library, expected) in [
            (Some(VERSION), true, None),
            (Some("2.10.0"), true, Some("is libtorch 2.10.0, but tch needs 2.11.0")),
            (Some(VERSION), false, Some("has no `lib/libtorch_cpu.")),
            (None, true, Some("cannot tell the version")),
        ] {
            let dir = folder(version, library);
            let found = check(dir.path()).err().map(|error| format!("{error:#}"));
            match (&found, expected) {
                (None, None) => {}
                (Some(error), Some(text)) => assert!(error.contains(text), "{error}"),
                _ => panic!("{version:?} {library}: {found:?}"),
            }
        }
    }
}
