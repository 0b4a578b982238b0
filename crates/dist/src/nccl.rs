//! Whether NCCL can be used, before a run needs it.

use std::{net::TcpListener, os::fd::IntoRawFd as _, time::Duration};

use tch::{Device, Kind, Tensor};

use crate::{
    DistError, Op,
    ffi::{Backend, Store, check_nccl},
};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Whether the process has NCCL's group as this crate expects it; needs no GPU. An error says why not, in libtorch's words.
pub fn nccl_layout() -> Result<(), String> {
    check_nccl()
}

/// Every operation of NCCL once, with this process alone on a GPU, and its result checked.
pub fn try_nccl(gpu: usize) -> Result<(), DistError> {
    let failed = |message: String| DistError::Meeting { rank: 0, size: 1, at: format!("GPU {gpu}"), message };
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| failed(error.to_string()))?;
    let port = listener.local_addr().map_err(|error| failed(error.to_string()))?.port();
    let store = Store::tcp("127.0.0.1", port, 1, Some(listener.into_raw_fd()), TIMEOUT).map_err(failed)?;
    let backend = Backend::new(&store, "reft/check", (0, 1), Some(gpu), TIMEOUT).map_err(failed)?;
    let numbers = || Tensor::arange(6, (Kind::Float, Device::Cuda(gpu)));
    let (own, all) = (numbers(), numbers().zeros_like());
    backend.all_reduce(&own, Op::Sum).map_err(failed)?;
    backend.broadcast(&own, 0).map_err(failed)?;
    backend.all_gather(&all, &own).map_err(failed)?;
    backend.reduce_scatter(&own, &all).map_err(failed)?;
    backend.barrier().map_err(failed)?;
    if !own.equal(&numbers()) || !all.equal(&numbers()) {
        return Err(failed("with one process every operation gives back what it gets, and did not".into()));
    }
    Ok(())
}
