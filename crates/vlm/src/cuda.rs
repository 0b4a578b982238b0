//! Loading libtorch's CUDA half at run time.
//!
//! The program links `libtorch_cpu` alone, so one binary runs everywhere. `libtorch_cpu` of a CUDA build finds its GPU
//! kernels when `libtorch_cuda` of the same version is in the process, which is what [`load`] sees to, before the first
//! tensor is made. It looks where `REFT_LIBTORCH_CUDA` points (the library or its folder), beside the loaded
//! `libtorch_cpu`, and in the active Python environment's torch.
//!
//! One of this crate's three modules with `unsafe` in them; the others map weights (`checkpoint/map.rs`) and lend kernels
//! the memory of tensors (`model/inference.rs`).

use std::{
    ffi::OsStr,
    fmt, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The libtorch that tch 0.24 is made for; libraries of other versions do not fit together.
const VERSION: &str = "2.11.0";
const CPU_LIBRARY: &str = "libtorch_cpu.so";
const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// What became of the CUDA library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CudaStatus {
    /// In the process. Whether a GPU and its driver are there, `tch::Cuda::is_available()` knows.
    Loaded(PathBuf),
    /// In none of these places: the CPU set of libtorch is installed.
    NotFound(Vec<PathBuf>),
    /// There, but of another version.
    WrongVersion {
        /// The library.
        path: PathBuf,
        /// Its version; none when nothing beside it says.
        found: Option<String>,
    },
    /// There, but the system's loader refused it, most often because another CUDA library is missing.
    Refused {
        /// The library.
        path: PathBuf,
        /// The loader's words.
        message: String,
    },
    /// Not looked for on this system.
    Unsupported,
}

impl fmt::Display for CudaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded(path) => write!(f, "loaded `{}`", path.display()),
            Self::NotFound(places) => {
                let places: Vec<String> = places.iter().map(|p| format!("`{}`", p.display())).collect();
                write!(
                    f,
                    "no {CUDA_LIBRARY} in {}; `cargo xtask libtorch --cuda` provides one, or set REFT_LIBTORCH_CUDA to \
                     the lib folder of an installed torch=={VERSION}",
                    places.join(", ")
                )
            }
            Self::WrongVersion { path, found } => write!(
                f,
                "`{}` is of version {}, {VERSION} is needed",
                path.display(),
                found.as_deref().unwrap_or("(unknown)")
            ),
            Self::Refused { path, message } => {
                write!(f, "`{}` could not be loaded: {message}", path.display())
            }
            Self::Unsupported => write!(f, "CUDA is supported on Linux only"),
        }
    }
}

/// Loads the CUDA library if there is one. Call it before any tensor is made; later calls return the first result.
pub fn load() -> &'static CudaStatus {
    static STATUS: OnceLock<CudaStatus> = OnceLock::new();
    STATUS.get_or_init(|| {
        if !cfg!(target_os = "linux") {
            return CudaStatus::Unsupported;
        }
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let beside = mapped(&maps, CPU_LIBRARY).and_then(|path| path.parent().map(Path::to_owned));
        let pointed = std::env::var_os("REFT_LIBTORCH_CUDA").map(PathBuf::from);
        let python = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
        let found = mapped(&maps, CUDA_LIBRARY).map_or_else(
            || find(pointed.as_deref(), beside.as_deref(), python.as_deref()),
            |path| Err(CudaStatus::Loaded(path)),
        );
        match found {
            Err(status) => status,
            Ok(path) => open(path),
        }
    })
}

/// The library to load, or the reason why there is none.
fn find(pointed: Option<&Path>, beside: Option<&Path>, python: Option<&Path>) -> Result<PathBuf, CudaStatus> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(path) = pointed {
        let is_library = path.file_name() == Some(OsStr::new(CUDA_LIBRARY));
        folders.push(if is_library { path.parent().unwrap_or(path).to_owned() } else { path.to_owned() });
    }
    folders.extend(beside.map(Path::to_owned));
    folders.extend(python.into_iter().flat_map(torch_folders));

    let Some(folder) = folders.iter().find(|folder| folder.join(CUDA_LIBRARY).exists()) else {
        return Err(CudaStatus::NotFound(folders));
    };
    let path = folder.join(CUDA_LIBRARY);
    // The library beside `libtorch_cpu` came with it.
    if Some(folder.as_path()) == beside {
        return Ok(path);
    }
    match version_beside(folder) {
        Some(version) if version == VERSION => Ok(path),
        found => Err(CudaStatus::WrongVersion { path, found }),
    }
}

/// The `torch/lib` folders of a Python environment.
fn torch_folders(environment: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    versions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .map(|entry| entry.path().join("site-packages/torch/lib"))
        .filter(|folder| folder.exists())
        .collect()
}

/// The version of the libtorch in a `lib` folder, without the build's suffix: `version.py` of a Python package, or
/// `build-version` of a libtorch archive.
fn version_beside(folder: &Path) -> Option<String> {
    let root = folder.parent()?;
    let text =
        ["version.py", "build-version"].iter().find_map(|name| fs::read_to_string(root.join(name)).ok())?;
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let version = text[start..].split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
    Some(version.to_owned())
}

/// The path of a library that is mapped into this process, by `/proc/self/maps`.
fn mapped(maps: &str, library: &str) -> Option<PathBuf> {
    maps.lines()
        .filter_map(|line| line.find('/').map(|start| Path::new(&line[start..])))
        .find(|path| path.file_name() == Some(OsStr::new(library)))
        .map(Path::to_owned)
}

#[cfg(unix)]
#[expect(
    unsafe_code,
    reason = "loading a library runs its initialisers, which no safe function can vouch for"
)]
fn open(path: PathBuf) -> CudaStatus {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: the library is libtorch's own, of the version that is linked, and its initialisers only register kernels.
    // It is loaded once, before any tensor exists, and never unloaded.
    match unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) } {
        Ok(library) => {
            std::mem::forget(library);
            CudaStatus::Loaded(path)
        }
        Err(e) => CudaStatus::Refused { path, message: e.to_string() },
    }
}

#[cfg(not(unix))]
fn open(_path: PathBuf) -> CudaStatus {
    CudaStatus::Unsupported
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(version: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lib")).unwrap();
        fs::write(dir.path().join("lib").join(CUDA_LIBRARY), b"not a library").unwrap();
        if let Some(version) = version {
            fs::write(dir.path().join("version.py"), format!("__version__ = '{version}'\n")).unwrap();
        }
        dir
    }

    #[test]
    fn the_loaded_cpu_library_is_found_by_its_mapping() {
        let maps = "7f00-7f01 r-xp 00000000 08:01 12  /opt/lib torch/libtorch_cpu.so\n7f02-7f03 rw-p 00000000 00:00 0 \n";
        assert_eq!(mapped(maps, CPU_LIBRARY), Some("/opt/lib torch/libtorch_cpu.so".into()));
        assert_eq!(mapped(maps, CUDA_LIBRARY), None);
    }

    #[test]
    fn places_are_tried_in_order_and_versions_checked() {
        let empty = tempfile::tempdir().unwrap();
        let none = find(Some(empty.path()), Some(empty.path()), None);
        assert_eq!(none, Err(CudaStatus::NotFound(vec![empty.path().into(), empty.path().into()])));

        let right = folder_with(Some("2.11.0+cu130"));
        let lib = right.path().join("lib");
        let library = lib.join(CUDA_LIBRARY);
        assert_eq!(find(Some(&library), Some(empty.path()), None), Ok(library.clone()));
        assert_eq!(find(Some(&lib), None, None), Ok(library));

        for (version, found) in [(Some("2.9.1"), Some("2.9.1".to_owned())), (None, None)] {
            let other = folder_with(version);
            let lib = other.path().join("lib");
            let path = lib.join(CUDA_LIBRARY);
            assert_eq!(
                find(Some(&lib), None, None),
                Err(CudaStatus::WrongVersion { path: path.clone(), found })
            );
            assert_eq!(find(None, Some(&lib), None), Ok(path), "beside libtorch_cpu no version is asked for");
        }
    }

    #[test]
    fn a_library_that_is_none_is_refused_with_the_loaders_words() {
        let dir = folder_with(None);
        let path = dir.path().join("lib").join(CUDA_LIBRARY);
        let CudaStatus::Refused { message, .. } = open(path) else { panic!("it must be refused") };
        assert!(message.contains("file too short") || message.contains("invalid ELF header"), "{message}");
    }
}
