//! Several processes as one run: libtorch's own c10d, NCCL on GPUs and Gloo on CPUs, without Python.
//!
//! [`World`] is what torchrun or Slurm say about this process, [`Group`] the collectives among all of them. With one
//! process every operation does nothing and costs nothing.
//!
//! Every rank calls the same operations in the same order. When a rank is lost, the others get an error that names it;
//! the group is then dead, and the processes end, to be started again by their launcher.
//!
//! ```
//! use std::time::Duration;
//! use reft_dist::{Group, Op, World};
//! use tch::{Device, Tensor};
//!
//! let group = Group::join(&World::from_env()?, Device::Cpu, Duration::from_secs(600))?;
//! let gradient = Tensor::from_slice(&[1.0_f32, 2.0]);
//! group.all_reduce(&gradient, Op::Sum)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ffi;
mod group;
mod nccl;
mod threads;
mod world;

pub use ffi::Op;
pub use group::{DistError, Group};
pub use nccl::{nccl_layout, try_nccl};
pub use threads::on_threads;
pub use world::{Launcher, World, WorldError};
