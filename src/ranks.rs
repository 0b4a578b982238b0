//! The processes of a run, as torchrun or Slurm have started them.

use std::{sync::Arc, time::Duration};

use reft_core::{Peers, StageError};
use reft_dist::{Group, Launcher, World};
use reft_pipeline::Observer;

use crate::Error;

/// How long a rank waits for the others: longer than one answers its share of a step, or rank 0 decodes all images.
const PATIENCE: Duration = Duration::from_secs(3600);

/// All ranks of the run that this process belongs to.
pub(crate) struct Ranks {
    /// What the launcher says of this one.
    pub(crate) world: World,
    pub(crate) group: Arc<Group>,
}

impl Ranks {
    /// Waits for the others, where a launcher says that there are others.
    pub(crate) fn join(observer: &mut dyn Observer) -> Result<Self, Error> {
        let world = World::from_env()?;
        if let Some((host, port)) = &world.meeting {
            observer.message(&format!("waiting at {host}:{port} for all of {} ranks", world.size));
        }
        // Words go by the CPU; a GPU is added when the recipe has said that there is one.
        let group = Group::join(&world, tch::Device::Cpu, PATIENCE)?;
        Ok(Self { world, group: Arc::new(group) })
    }

    /// Whether this one has the run directory.
    pub(crate) fn is_first(&self) -> bool {
        self.world.rank == 0
    }

    /// Which this is, and where it computes.
    pub(crate) fn greeting(&self, device: tch::Device) -> String {
        let World { launcher, rank, size, local_rank, .. } = self.world;
        let launcher = match launcher {
            Launcher::None => "alone",
            Launcher::Torchrun => "torchrun",
            Launcher::Slurm => "Slurm",
        };
        let device = match device {
            tch::Device::Cuda(index) => format!("GPU {index}"),
            device => format!("{device:?}").to_uppercase(),
        };
        format!("rank {rank} of {size} ({launcher}): {device}, number {local_rank} on its machine")
    }

    /// Threads of this process: a setting of 0 divides the cores of the machine among its ranks.
    pub(crate) fn threads(&self, setting: usize) -> usize {
        if setting > 0 || self.world.local_size == 1 {
            return setting;
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cores / self.world.local_size).max(1)
    }
}

impl Peers for Ranks {
    fn rank(&self) -> usize {
        self.group.rank()
    }

    fn size(&self) -> usize {
        self.group.size()
    }

    fn waited(&self) -> Duration {
        self.group.waited()
    }

    fn exchange(&self, own: Result<Vec<u8>, String>) -> Result<Vec<Vec<u8>>, StageError> {
        self.group.exchange(own).map_err(|error| StageError::other("ranks", error))
    }
}
