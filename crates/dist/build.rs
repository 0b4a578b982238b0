//! Compiles the shim. Gloo's own headers are not among libtorch's; the few names that `ProcessGroupGloo.hpp` needs are
//! declared in `c10d/stub`.

#[path = "../autograd/libtorch.rs"]
mod libtorch;

fn main() {
    println!("cargo:rerun-if-changed=c10d");
    if let Some(mut build) = libtorch::compiler() {
        build.include("c10d/stub").file("c10d/shim.cpp").file("c10d/nccl.cpp").compile("reft_dist");
    }
}
