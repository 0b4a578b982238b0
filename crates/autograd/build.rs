//! Compiles `node.cpp` against the headers of the libtorch that torch-sys links.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=src/node.cpp");
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
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("src/node.cpp")
        .compile("reft_autograd");
}
