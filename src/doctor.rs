//! What is there of what training needs: `reft doctor`.

use std::fmt;

use reft_vlm::cuda::{self, CudaStatus};
use serde::Serialize;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Version of curr-reft.
    pub version: &'static str,
    /// What became of libtorch's CUDA half, and why.
    pub cuda_library: String,
    /// Whether tensors can be put on a GPU.
    pub cuda_available: bool,
    /// GPUs.
    pub cuda_devices: i64,
    /// Whether gradients of several GPUs can go by NCCL; needs no GPU.
    pub nccl: String,
    /// CPU threads that libtorch computes with.
    pub threads: i32,
    /// Cores of the machine.
    pub cores: usize,
    /// Memory of the machine in bytes; none where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// Largest difference of a small forward pass from its recorded logits.
    pub golden_difference: f64,
    /// Whether that is within rounding.
    pub golden_ok: bool,
    /// What to do about what is wrong or slow.
    pub advice: Vec<String>,
}

/// Largest difference that rounding explains.
const ROUNDING: f64 = 1e-4;

/// Looks at libtorch, devices and memory, and runs a golden forward pass on the CPU.
pub fn diagnose() -> Diagnosis {
    let status = cuda::load();
    let golden_difference = reft_vlm::self_test();
    let golden_ok = golden_difference <= ROUNDING;
    let cuda_available = tch::Cuda::is_available();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);

    let mut advice = Vec::new();
    if !golden_ok {
        advice.push(
            "the golden forward pass differs: this libtorch is not 2.11, or its CPU kernels are broken"
                .into(),
        );
    }
    if matches!(status, CudaStatus::Loaded(_)) && !cuda_available {
        advice.push(
            "the CUDA library is loaded but there is no usable GPU; check the driver with `nvidia-smi`"
                .into(),
        );
    }
    if cuda_available && let Some(reason) = reft_rollout::decode_kernels_missing() {
        advice.push(format!("rollout on the GPU runs without the decode kernels: {reason}"));
    }
    if matches!(status, CudaStatus::NotFound(_)) {
        advice.push("to use a GPU, run `cargo xtask libtorch --cuda`".into());
    }
    if ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"].iter().all(|name| std::env::var_os(name).is_none()) {
        advice
            .push("on a shared CPU set GOMP_SPINCOUNT=5000: waiting threads otherwise burn the cores".into());
    }
    Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        cuda_library: status.to_string(),
        cuda_available,
        cuda_devices: if cuda_available { tch::Cuda::device_count() } else { 0 },
        nccl: match (status, reft_dist::nccl_layout()) {
            (_, Ok(())) => "found, laid out as expected".into(),
            (CudaStatus::Loaded(_), Err(message)) => message,
            (_, Err(_)) => "none; it comes with libtorch's CUDA half".into(),
        },
        threads: tch::get_num_threads(),
        cores,
        memory_bytes: memory(),
        golden_difference,
        golden_ok,
        advice,
    }
}

/// `MemTotal` of `/proc/meminfo`, which is in kB.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes_no = |yes: bool| if yes { "yes" } else { "no" };
        writeln!(f, "curr-reft        {}", self.version)?;
        writeln!(f, "cpu              {} cores, {} threads", self.cores, self.threads)?;
        if let Some(bytes) = self.memory_bytes {
            writeln!(f, "memory           {:.1} GiB", bytes as f64 / f64::from(1 << 30))?;
        }
        writeln!(f, "cuda library     {}", self.cuda_library)?;
        writeln!(f, "cuda available   {} ({} devices)", yes_no(self.cuda_available), self.cuda_devices)?;
        writeln!(f, "nccl             {}", self.nccl)?;
        let verdict = if self.golden_ok { "ok" } else { "WRONG" };
        writeln!(f, "golden forward   {verdict}, largest difference {:.1e}", self.golden_difference)?;
        for line in &self.advice {
            writeln!(f, "advice           {line}")?;
        }
        Ok(())
    }
}
