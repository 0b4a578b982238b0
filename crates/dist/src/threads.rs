//! Ranks as threads of one process.

use std::{net::TcpListener, panic::resume_unwind, sync::Arc, thread, time::Duration};

use tch::Device;

use crate::{DistError, Group, World};

/// What each of `size` ranks returns, by rank: for tests, and to try a stage of one's own with several ranks on a CPU.
/// Operations fail after `timeout`. A rank that panics takes the caller along.
pub fn on_threads<T: Send>(
    size: usize,
    timeout: Duration,
    run: impl Fn(&Arc<Group>) -> T + Sync,
) -> Result<Vec<T>, DistError> {
    let listener =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (at, listener) = listener.map_err(|e| DistError::Meeting {
        rank: 0,
        size,
        at: "127.0.0.1".into(),
        message: e.to_string(),
    })?;
    let mut listener = Some(listener);
    let run = &run;
    thread::scope(|scope| {
        let rank = |rank: usize| {
            let meeting = Some((at.ip().to_string(), at.port()));
            let world = World { rank, size, local_rank: rank, local_size: size, meeting, ..World::alone() };
            let listener = if rank == 0 { listener.take() } else { None };
            scope.spawn(move || {
                let group = Arc::new(Group::join_on(&world, Device::Cpu, timeout, listener)?);
                let result = run(&group);
                // The store of rank 0 stays until nobody asks it any more.
                group.barrier()?;
                Ok(result)
            })
        };
        let threads: Vec<_> = (0..size).map(rank).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}
