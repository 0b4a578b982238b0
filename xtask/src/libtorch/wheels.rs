//! Which wheels make which libtorch, pinned by version and SHA-256.
//!
//! tch 0.24 wants libtorch 2.11.0. The wheels on the Python package index carry it, so that no other host is needed.
//! The wheels for CPython 3.11 are fetched whatever Python the user has: nothing Python is taken out of them.
//! The CPU set for Linux is cut out of the CUDA build, so the same binary runs on a GPU when the CUDA set is linked.

use std::fmt;

/// The libtorch version that tch 0.24 is made for.
pub(crate) const VERSION: &str = "2.11.0";

/// Which libraries to provide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// What a CPU needs.
    Cpu,
    /// Everything, for NVIDIA GPUs.
    Cuda,
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

/// What to unpack from a wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// These libraries by file name.
    Libraries(&'static [&'static str]),
    /// These libraries by file name, and the C++ headers.
    LibrariesAndHeaders(&'static [&'static str]),
    /// All libraries but Python's own.
    AllLibraries,
    /// All libraries but Python's own, and the C++ headers.
    AllLibrariesAndHeaders,
}

/// One pinned wheel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wheel {
    /// Name on the package index.
    pub(crate) package: &'static str,
    /// Version on the package index.
    pub(crate) version: &'static str,
    /// The wheel's platform tag.
    pub(crate) platform: &'static str,
    /// SHA-256 of the wheel, in hexadecimal.
    pub(crate) sha256: &'static str,
    /// Bytes to download, where known.
    pub(crate) bytes: Option<u64>,
    /// What to unpack.
    pub(crate) take: Take,
}

/// The wheels of a set, and what must be there afterwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    /// The wheels, in the order in which they are fetched.
    pub(crate) wheels: &'static [Wheel],
    /// Libraries that must lie in `lib/` at the end.
    pub(crate) libraries: &'static [&'static str],
    /// Free bytes needed: wheels and unpacked libraries together.
    pub(crate) disk: u64,
    /// A remark for the user.
    pub(crate) note: Option<&'static str>,
}

/// The recipe for a platform, by `std::env::consts` names.
pub(crate) fn recipe(os: &str, arch: &str, set: Set) -> Option<Recipe> {
    match (os, arch, set) {
        ("linux", "x86_64", Set::Cpu) => Some(LINUX_CPU),
        ("linux", "x86_64", Set::Cuda) => Some(LINUX_CUDA),
        ("macos", "aarch64", Set::Cpu) => Some(MACOS_CPU),
        _ => None,
    }
}

const LINUX_CPU: Recipe = Recipe {
    wheels: &[
        Wheel {
            take: Take::LibrariesAndHeaders(&["libtorch.so", "libtorch_cpu.so", "libc10.so", "libgomp.so.1"]),
            ..TORCH_LINUX
        },
        Wheel { take: Take::Libraries(&["libcudart.so.13"]), ..CUDART },
        Wheel { take: Take::Libraries(&["libcupti.so.13"]), ..CUPTI },
    ],
    libraries: &[
        "libtorch.so",
        "libtorch_cpu.so",
        "libc10.so",
        "libgomp.so.1",
        // The CPU library of the CUDA build links these two and no other CUDA library.
        "libcudart.so.13",
        "libcupti.so.13",
    ],
    disk: 1_100_000_000,
    note: None,
};

const LINUX_CUDA: Recipe = Recipe {
    wheels: &[
        TORCH_LINUX,
        CUDART,
        CUPTI,
        cuda(
            "nvidia-cublas",
            "13.1.0.3",
            "manylinux_2_27_x86_64",
            "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
        ),
        cuda(
            "nvidia-cuda-nvrtc",
            "13.0.88",
            "manylinux2010_x86_64",
            "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        ),
        cuda(
            "nvidia-cudnn-cu13",
            "9.19.0.56",
            "manylinux_2_27_x86_64",
            "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
        ),
        cuda(
            "nvidia-cufft",
            "12.0.0.61",
            "manylinux2014_x86_64",
            "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        ),
        cuda(
            "nvidia-cufile",
            "1.15.1.6",
            "manylinux2014_x86_64",
            "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        ),
        cuda(
            "nvidia-curand",
            "10.4.0.35",
            "manylinux_2_27_x86_64",
            "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        ),
        cuda(
            "nvidia-cusolver",
            "12.0.4.66",
            "manylinux_2_27_x86_64",
            "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        ),
        cuda(
            "nvidia-cusparse",
            "12.6.3.3",
            "manylinux2014_x86_64",
            "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        ),
        cuda(
            "nvidia-cusparselt-cu13",
            "0.8.0",
            "manylinux2014_x86_64",
            "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
        ),
        cuda(
            "nvidia-nccl-cu13",
            "2.28.9",
            "manylinux_2_18_x86_64",
            "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
        ),
        cuda(
            "nvidia-nvjitlink",
            "13.0.88",
            "manylinux2010_x86_64",
            "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
        ),
        cuda(
            "nvidia-nvshmem-cu13",
            "3.4.5",
            "manylinux2014_x86_64",
            "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        ),
        cuda(
            "nvidia-nvtx",
            "13.0.85",
            "manylinux1_x86_64",
            "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
        ),
    ],
    libraries: &[
        "libtorch.so",
        "libtorch_cpu.so",
        "libtorch_cuda.so",
        "libc10.so",
        "libc10_cuda.so",
        "libgomp.so.1",
        "libcudart.so.13",
        "libcupti.so.13",
        "libcublas.so.13",
        "libcublasLt.so.13",
        "libcudnn.so.9",
        "libnccl.so.2",
    ],
    // An estimate: about 3 GB of wheels and 6 GB unpacked.
    disk: 9_000_000_000,
    note: Some("the CUDA set is about 3 GB to download"),
};

const MACOS_CPU: Recipe = Recipe {
    wheels: &[Wheel {
        package: "torch",
        version: VERSION,
        platform: "macosx_11_0_arm64",
        sha256: "7b6a60d48062809f58595509c524b88e6ddec3ebe25833d6462eeab81e5f2ce4",
        bytes: Some(80_529_712),
        take: Take::LibrariesAndHeaders(&[
            "libtorch.dylib",
            "libtorch_cpu.dylib",
            "libc10.dylib",
            "libomp.dylib",
        ]),
    }],
    libraries: &["libtorch.dylib", "libtorch_cpu.dylib", "libc10.dylib", "libomp.dylib"],
    disk: 400_000_000,
    note: Some("macOS is supported by the same steps as Linux, but nobody has tested it yet"),
};

const TORCH_LINUX: Wheel = Wheel {
    package: "torch",
    version: VERSION,
    platform: "manylinux_2_28_x86_64",
    sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
    bytes: Some(530_604_548),
    take: Take::AllLibrariesAndHeaders,
};

const CUDART: Wheel = Wheel {
    package: "nvidia-cuda-runtime",
    version: "13.0.96",
    platform: "manylinux2014_x86_64",
    sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    bytes: Some(2_243_632),
    take: Take::AllLibraries,
};

const CUPTI: Wheel = Wheel {
    package: "nvidia-cuda-cupti",
    version: "13.0.85",
    platform: "manylinux_2_25_x86_64",
    sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
    bytes: Some(10_715_597),
    take: Take::AllLibraries,
};

const fn cuda(
    package: &'static str,
    version: &'static str,
    platform: &'static str,
    sha256: &'static str,
) -> Wheel {
    Wheel { package, version, platform, sha256, bytes: None, take: Take::AllLibraries }
}

impl Take {
    /// Where a file of the wheel goes, relative to the libtorch folder; none when it is not needed.
    pub(crate) fn target(self, path: &str) -> Option<String> {
        if let Some(header) = path.strip_prefix("torch/include/") {
            let wanted = matches!(self, Self::LibrariesAndHeaders(_) | Self::AllLibrariesAndHeaders);
            return (wanted && !header.is_empty()).then(|| format!("include/{header}"));
        }
        let (folder, name) = path.rsplit_once('/')?;
        let in_lib = folder == "lib" || folder.ends_with("/lib");
        let is_library = name.contains(".so") || name.contains(".dylib");
        let wanted = match self {
            Self::Libraries(names) | Self::LibrariesAndHeaders(names) => names.contains(&name),
            // It needs symbols of a running Python.
            Self::AllLibraries | Self::AllLibrariesAndHeaders => !name.starts_with("libtorch_python."),
        };
        (in_lib && is_library && wanted).then(|| format!("lib/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(&str, &str, Set); 3] =
        [("linux", "x86_64", Set::Cpu), ("linux", "x86_64", Set::Cuda), ("macos", "aarch64", Set::Cpu)];

    #[test]
    fn only_tried_platforms_have_a_recipe() {
        for (os, arch, set) in ALL {
            assert!(recipe(os, arch, set).is_some(), "{os} {arch} {set}");
        }
        for (os, arch, set) in [
            ("macos", "aarch64", Set::Cuda),
            ("macos", "x86_64", Set::Cpu),
            ("linux", "aarch64", Set::Cpu),
            ("windows", "x86_64", Set::Cpu),
        ] {
            assert!(recipe(os, arch, set).is_none(), "{os} {arch} {set}");
        }
    }

    #[test]
    fn every_wheel_is_pinned_once_for_its_platform() {
        for (os, arch, set) in ALL {
            let recipe = recipe(os, arch, set).unwrap();
            let mut packages: Vec<_> = recipe.wheels.iter().map(|wheel| wheel.package).collect();
            packages.sort_unstable();
            packages.dedup();
            assert_eq!(packages.len(), recipe.wheels.len(), "{os} {set}");
            for wheel in recipe.wheels {
                assert_eq!(wheel.sha256.len(), 64, "{}", wheel.package);
                assert!(wheel.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
                let arch = if os == "macos" { "arm64" } else { arch };
                assert!(wheel.platform.ends_with(arch), "{}", wheel.package);
            }
            assert_eq!(recipe.wheels[0].package, "torch");
            assert_eq!(recipe.wheels[0].version, VERSION);
            let known: u64 = recipe.wheels.iter().filter_map(|wheel| wheel.bytes).sum();
            assert!(recipe.disk > known, "{os} {set}");
        }
    }

    #[test]
    fn the_cuda_set_contains_the_cpu_set() {
        let (cpu, cuda) = (LINUX_CPU, LINUX_CUDA);
        assert!(cpu.libraries.iter().all(|name| cuda.libraries.contains(name)));
        for wheel in cpu.wheels {
            assert!(cuda.wheels.iter().any(|other| other.sha256 == wheel.sha256), "{}", wheel.package);
        }
    }

    #[test]
    fn files_find_their_place() {
        let cpu = LINUX_CPU.wheels[0].take;
        let cudart = LINUX_CPU.wheels[1].take;
        let all = LINUX_CUDA.wheels[0].take;
        for (take, path, target) in [
            (cpu, "torch/lib/libtorch_cpu.so", Some("lib/libtorch_cpu.so")),
            (cpu, "torch/lib/libgomp.so.1", Some("lib/libgomp.so.1")),
            (cpu, "torch/lib/libtorch_cuda.so", None),
            (cpu, "torch/include/c10/util/Half.h", Some("include/c10/util/Half.h")),
            (cpu, "torch/include/", None),
            (cpu, "torch/version.py", None),
            (cpu, "functorch/_C.cpython-311-x86_64-linux-gnu.so", None),
            (cudart, "nvidia/cu13/lib/libcudart.so.13", Some("lib/libcudart.so.13")),
            (cudart, "nvidia/cu13/include/cuda.h", None),
            (all, "torch/lib/libtorch_cuda.so", Some("lib/libtorch_cuda.so")),
            (all, "torch/lib/libtorch_python.so", None),
            (all, "torch/_C.cpython-311-x86_64-linux-gnu.so", None),
            (Take::AllLibraries, "nvidia/cudnn/lib/libcudnn.so.9", Some("lib/libcudnn.so.9")),
            (Take::AllLibraries, "nvidia/cudnn/lib/__init__.py", None),
            (Take::AllLibraries, "torch/include/c10/util/Half.h", None),
        ] {
            assert_eq!(take.target(path).as_deref(), target, "{take:?} {path}");
        }
    }
}
