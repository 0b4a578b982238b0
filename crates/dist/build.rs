//! Compiles the shim against the headers of the libtorch that torch-sys links. Gloo's own headers are not among them; the
//! few names that `ProcessGroupGloo.hpp` needs are declared in `c10d/stub`.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=c10d");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    let root = env::var_os("LIBTORCH_INCLUDE").or_else(|| env::var_os("LIBTORCH")).map(PathBuf::from);
    let Some(root) = root else {
        println!("cargo:warning=LIBTORCH is not set; `cargo xtask libtorch` provides it");
        return;
    };
    let include = root.join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(1)
        .warnings(false)
        .include("c10d/stub")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("c10d/shim.cpp")
        .file("c10d/nccl.cpp")
        .compile("reft_dist");
}
