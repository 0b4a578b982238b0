//! Compiles `node.cpp`.

mod libtorch;

fn main() {
    println!("cargo:rerun-if-changed=src/node.cpp");
    if let Some(mut build) = libtorch::compiler() {
        build.file("src/node.cpp").compile("reft_autograd");
    }
}
