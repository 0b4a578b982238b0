//! The processes of a run as one group.

use std::{
    net::TcpListener,
    os::fd::IntoRawFd as _,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tch::{Device, Kind, Tensor};

use crate::{
    World,
    ffi::{Backend, Op, Store},
};

/// How long those that are left wait for a sign of life of the others, to say who is gone.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// What can go wrong between processes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistError {
    /// The processes have not met.
    #[error("rank {rank} of {size} cannot meet the others at {at}: {message}")]
    Meeting {
        /// This process.
        rank: usize,
        /// How many there are.
        size: usize,
        /// Host and port.
        at: String,
        /// What libtorch or the system says.
        message: String,
    },
    /// A collective has failed.
    #[error("rank {rank}: {what} failed, {}: {message}", lost_text(lost.as_deref()))]
    Collective {
        /// This process.
        rank: usize,
        /// Which.
        what: &'static str,
        /// The ranks that give no sign of life; none where their absence could not be found out.
        lost: Option<Vec<usize>>,
        /// What libtorch says.
        message: String,
    },
    /// Ranks say that they have failed.
    #[error("{}", .0.iter().map(|(rank, message)| format!("rank {rank}: {message}")).collect::<Vec<_>>().join("; "))]
    Peers(Vec<(usize, String)>),
    /// A buffer that cannot be cut into one piece for each rank.
    #[error("{numel} numbers are not {size} equal pieces")]
    Pieces {
        /// Its numbers.
        numel: usize,
        /// Ranks.
        size: usize,
    },
}

fn lost_text(lost: Option<&[usize]>) -> String {
    match lost {
        None => "and the store is gone with the process that serves it".into(),
        Some([]) => "though all ranks are there".into(),
        Some([one]) => format!("rank {one} is gone or does not answer"),
        Some(more) => {
            format!(
                "ranks {} are gone or do not answer",
                more.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
            )
        }
    }
}

/// The processes of a run. Every operation is called by all of them in the same order; with one it does nothing.
pub struct Group {
    rank: usize,
    size: usize,
    joined: Option<Joined>,
}

struct Joined {
    /// Of this attempt.
    name: String,
    /// Freed before the store; none after an operation has failed.
    cpu: Mutex<Option<Backend>>,
    device: OnceLock<Backend>,
    store: Store,
    /// Whether the store goes with this process.
    serves: bool,
    timeout: Duration,
    /// Nanoseconds in operations.
    waited: AtomicU64,
}

impl Default for Group {
    fn default() -> Self {
        Self::alone()
    }
}

impl Group {
    /// One process.
    pub fn alone() -> Self {
        Self { rank: 0, size: 1, joined: None }
    }

    /// Waits until all ranks have joined. Tensors on `device`, a GPU of this process, go by NCCL, all others by Gloo.
    /// Every operation fails after `timeout`; it must be longer than ranks wait for each other: a rollout, a checkpoint.
    pub fn join(world: &World, device: Device, timeout: Duration) -> Result<Self, DistError> {
        Self::join_on(world, device, timeout, None)
    }

    /// [`Group::join`] where rank 0 may have a socket on the meeting's address already.
    pub(crate) fn join_on(
        world: &World,
        device: Device,
        timeout: Duration,
        listener: Option<TcpListener>,
    ) -> Result<Self, DistError> {
        let &World { rank, size, .. } = world;
        let Some((host, port)) = world.meeting.as_ref().filter(|_| size > 1) else {
            return Ok(Self::alone());
        };
        let at = format!("{host}:{port}");
        let failed = |message: String| DistError::Meeting { rank, size, at: at.clone(), message };
        let serves = rank == 0 && !world.agent_serves;
        let listening = if serves {
            // On this address alone: left to itself the store listens on every interface, and asks nobody who he is.
            let listener = listener.map_or_else(|| TcpListener::bind((host.as_str(), *port)), Ok);
            let told = "`MASTER_ADDR` must be an address of this machine, and `MASTER_PORT` free on it";
            Some(listener.map_err(|e| failed(format!("{e}; {told}")))?.into_raw_fd())
        } else {
            None
        };
        let store = Store::tcp(host, *port, size, listening, timeout).map_err(failed)?;
        let name = format!("reft/{}", world.attempt);
        let cpu = Backend::new(&store, &format!("{name}/gloo"), (rank, size), None, timeout);
        let cpu = Mutex::new(Some(cpu.map_err(failed)?));
        let joined =
            Joined { name, cpu, device: OnceLock::new(), store, serves, timeout, waited: AtomicU64::new(0) };
        let group = Self { rank, size, joined: Some(joined) };
        group.add_device(device)?;
        Ok(group)
    }

    /// Tensors on a GPU go by NCCL from now on. Called by all ranks, each for its own GPU; on a CPU there is nothing to do.
    pub fn add_device(&self, device: Device) -> Result<(), DistError> {
        let (Device::Cuda(index), Some(joined)) = (device, &self.joined) else { return Ok(()) };
        let Joined { name, store, timeout, .. } = joined;
        let (rank, size) = (self.rank, self.size);
        let backend = Backend::new(store, &format!("{name}/nccl"), (rank, size), Some(index), *timeout);
        let failed = |message| DistError::Meeting { rank, size, at: format!("GPU {index}"), message };
        // A second call finds the first one's.
        let _ = joined.device.set(backend.map_err(failed)?);
        Ok(())
    }

    /// Which this is, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The time that this rank has spent in operations: waiting for the others, and sending.
    pub fn waited(&self) -> Duration {
        let nanoseconds = self.joined.as_ref().map(|joined| joined.waited.load(Ordering::Relaxed));
        Duration::from_nanos(nanoseconds.unwrap_or(0))
    }

    /// Whether this is the only process.
    pub fn is_alone(&self) -> bool {
        self.size == 1
    }

    /// The sum, smallest or largest of the tensors of all ranks takes the place of each.
    pub fn all_reduce(&self, x: &Tensor, op: Op) -> Result<(), DistError> {
        self.call("all_reduce", x.device(), |backend| backend.all_reduce(x, op))
    }

    /// The tensor of rank `root` takes the place of everyone's.
    pub fn broadcast(&self, x: &Tensor, root: usize) -> Result<(), DistError> {
        self.call("broadcast", x.device(), |backend| backend.broadcast(x, root))
    }

    /// `[size, ...]` the tensors of all ranks, which have one shape.
    pub fn all_gather(&self, own: &Tensor) -> Result<Tensor, DistError> {
        let shape = [&[self.size as i64], own.size().as_slice()].concat();
        if self.is_alone() {
            return Ok(own.reshape(shape));
        }
        let all = Tensor::empty(&shape, (own.kind(), own.device()));
        // Gloo and NCCL want one row of pieces.
        let (flat, own) = (all.view([-1]), own.contiguous().view([-1]));
        self.call("all_gather", own.device(), |backend| backend.all_gather(&flat, &own))?;
        Ok(all)
    }

    /// `[n / size]` this rank's piece of the sum of flat tensors `[n]`.
    pub fn reduce_scatter(&self, all: &Tensor) -> Result<Tensor, DistError> {
        if self.is_alone() {
            return Ok(all.shallow_clone());
        }
        let numel = all.numel();
        if !numel.is_multiple_of(self.size) {
            return Err(DistError::Pieces { numel, size: self.size });
        }
        let own = Tensor::empty([(numel / self.size) as i64], (all.kind(), all.device()));
        self.call("reduce_scatter", all.device(), |backend| backend.reduce_scatter(&own, all))?;
        Ok(own)
    }

    /// Waits until all ranks are here.
    pub fn barrier(&self) -> Result<(), DistError> {
        self.call("barrier", Device::Cpu, Backend::barrier)
    }

    /// What every rank has to say, by rank; where one has failed, everyone gets its error.
    pub fn exchange(&self, own: Result<Vec<u8>, String>) -> Result<Vec<Vec<u8>>, DistError> {
        let (failed, own) = match own {
            Ok(bytes) => (0, bytes),
            Err(message) => (1, message.into_bytes()),
        };
        let all = if self.is_alone() { vec![(failed, own)] } else { self.exchange_bytes(failed, &own)? };
        let errors: Vec<(usize, String)> = all
            .iter()
            .enumerate()
            .filter(|(_, (failed, _))| *failed != 0)
            .map(|(rank, (_, message))| (rank, String::from_utf8_lossy(message).into_owned()))
            .collect();
        if errors.is_empty() {
            Ok(all.into_iter().map(|(_, bytes)| bytes).collect())
        } else {
            Err(DistError::Peers(errors))
        }
    }

    fn exchange_bytes(&self, failed: i64, own: &[u8]) -> Result<Vec<(i64, Vec<u8>)>, DistError> {
        let heads = self.all_gather(&Tensor::from_slice(&[failed, own.len() as i64]))?;
        let head = |rank: usize, i: i64| heads.int64_value(&[rank as i64, i]);
        let longest = (0..self.size).map(|rank| head(rank, 1)).max().unwrap_or(0);
        let padded = Tensor::zeros([longest.max(1)], (Kind::Uint8, Device::Cpu));
        padded.narrow(0, 0, own.len() as i64).copy_(&Tensor::from_slice(own));
        let all = self.all_gather(&padded)?;
        let of_rank = |rank: usize| {
            let length = head(rank, 1);
            let mut bytes = vec![0; length as usize];
            all.get(rank as i64).narrow(0, 0, length).copy_data(&mut bytes, length as usize);
            (head(rank, 0), bytes)
        };
        Ok((0..self.size).map(of_rank).collect())
    }

    fn call(
        &self,
        what: &'static str,
        device: Device,
        call: impl FnOnce(&Backend) -> Result<(), String>,
    ) -> Result<(), DistError> {
        let Some(joined) = &self.joined else { return Ok(()) };
        let start = Instant::now();
        let mut cpu = joined.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match (device.is_cuda(), joined.device.get(), cpu.as_ref()) {
            (_, _, None) => Err("an operation has failed before".into()),
            (true, None, _) => Err("the group was joined without a GPU".into()),
            (true, Some(device), _) => call(device),
            (false, _, Some(cpu)) => call(cpu),
        };
        joined.waited.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result.map_err(|message| {
            // Closes its connections: a rank that waits for this one, and not for the one that is gone, fails now too.
            *cpu = None;
            DistError::Collective { rank: self.rank, what, lost: self.lost(joined), message }
        })
    }

    /// The ranks that give no sign of life, told after a failure that reaches everyone at about the same time.
    fn lost(&self, joined: &Joined) -> Option<Vec<usize>> {
        let alive = |rank: usize| format!("{}/alive/{rank}", joined.name);
        let told = |rank: usize| format!("{}/told/{rank}", joined.name);
        joined.store.set(&alive(self.rank), "yes").ok()?;
        let others = (0..self.size).filter(|&rank| rank != self.rank);
        let (here, lost): (Vec<usize>, Vec<usize>) = others.partition(wait_for(&joined.store, alive));
        // A store that went away meanwhile has made everyone look silent. It is asked back: nothing answers to `set`.
        joined.store.set(&told(self.rank), "yes").ok()?;
        joined.store.wait(&told(self.rank), SIGN_OF_LIFE).ok()?;
        if joined.serves {
            // Those who began to wait a little later must find the store until they have been told too.
            let mut is_told = wait_for(&joined.store, told);
            for rank in here {
                is_told(&rank);
            }
        }
        Some(lost)
    }
}

/// Whether a rank has left its key, all of them asked within one [`SIGN_OF_LIFE`].
fn wait_for(store: &Store, key: impl Fn(usize) -> String) -> impl FnMut(&usize) -> bool {
    let end = Instant::now() + SIGN_OF_LIFE;
    // A time of zero would be the store's own.
    let left = move || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(10));
    move |&rank| store.wait(&key(rank), left()).is_ok()
}
