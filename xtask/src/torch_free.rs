//! Which packages build without libtorch. The checks lint them first, and a tidy test holds them to it.

/// Packages that never reach torch-sys: whoever writes a reward or a curriculum compiles in seconds.
/// `xtask` brings the tidy tests themselves.
pub(crate) const TORCH_FREE: [&str; 18] = [
    "reft-core",
    "reft-remote",
    "reft-hub",
    "reft-config",
    "reft-data",
    "reft-math",
    "reft-peer-rewards",
    "reft-reward",
    "reft-curriculum",
    "reft-reject",
    "reft-eval",
    "reft-store",
    "reft-pipeline",
    "reft-fleet",
    "reft-testkit",
    "reft-kernels",
    "reft-ablation",
    "xtask",
];
