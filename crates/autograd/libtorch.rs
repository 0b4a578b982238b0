//! For build scripts: a compiler of C++ against the headers of the libtorch that torch-sys links.

use std::{env, path::PathBuf};

/// None, and a warning, where no libtorch is known.
pub(crate) fn compiler() -> Option<cc::Build> {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    let root = env::var_os("LIBTORCH_INCLUDE").or_else(|| env::var_os("LIBTORCH")).map(PathBuf::from);
    let Some(root) = root else {
        println!("cargo:warning=LIBTORCH is not set; `cargo xtask libtorch` provides it");
        return None;
    };
    let include = root.join("include");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(1).warnings(false);
    build.include(&include).include(include.join("torch/csrc/api/include"));
    Some(build)
}
