//! Lets the installed `reft` find libtorch: beside the paths of `.cargo/config.toml`, which lead to the checkout from its own
//! target folder, the program looks where libtorch was when it was built.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-changed=build.rs");
    let Some(folder) = env::var_os("LIBTORCH") else { return };
    let libraries = Path::new(&folder).join("lib");
    if let (Ok(path), true) = (fs::canonicalize(libraries), cfg!(unix)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{}", path.display());
    }
}
