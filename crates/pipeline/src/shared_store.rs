//! One run directory for several ranks: rank 0 writes and looks, the others hear what it has found.

use std::path::PathBuf;

use reft_core::{
    Checkpoint, Checkpointed, Cursor, FailedBatch, GradedGroup, JudgedGroup, KeptAnswer, Metrics, Peers,
    Recorder, RunStore, ScoredGroup, StageError, Verdict,
};
use serde_json::{Value, json};

use crate::share::{from_first, tell};

/// The store of rank 0 as all ranks see it. What is written seldom and must not be lost fails on all ranks together; the
/// records of a step are rank 0's alone. The others write their times and events to a log.
///
/// Checkpoints are read by every rank from the folder that rank 0 names, so the run directory lies where all can read it.
pub struct SharedStore<'a> {
    own: Own<'a>,
    peers: &'a dyn Peers,
}

/// Takes a line of what another rank than 0 has to tell.
type Log<'a> = &'a mut (dyn FnMut(&Value) -> Result<(), StageError> + Send);

enum Own<'a> {
    First(&'a mut dyn RunStore),
    Other(Log<'a>),
}

impl<'a> Own<'a> {
    fn store(&self) -> Option<&(dyn RunStore + 'a)> {
        match self {
            Self::First(store) => Some(&**store),
            Self::Other(_) => None,
        }
    }

    fn store_mut(&mut self) -> Option<&mut (dyn RunStore + 'a)> {
        match self {
            Self::First(store) => Some(&mut **store),
            Self::Other(_) => None,
        }
    }
}

impl<'a> SharedStore<'a> {
    /// On rank 0, which has the store.
    pub fn first(store: &'a mut dyn RunStore, peers: &'a dyn Peers) -> Self {
        debug_assert_eq!(peers.rank(), 0, "rank 0 alone has a store");
        Self { own: Own::First(store), peers }
    }

    /// On another rank, with what takes its times and events, a line each.
    pub fn other(log: Log<'a>, peers: &'a dyn Peers) -> Self {
        debug_assert_ne!(peers.rank(), 0, "rank 0 has a store");
        Self { own: Own::Other(log), peers }
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut dyn RunStore) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        match self.own.store_mut() {
            Some(store) => write(store),
            None => Ok(()),
        }
    }

    /// As `write`, and everyone waits until it is done.
    fn write_together(
        &mut self,
        write: impl FnOnce(&mut dyn RunStore) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let written = self.write(write);
        tell(self.peers, written).map(|_| ())
    }
}

impl Recorder for SharedStore<'_> {
    fn step(&mut self, phase: &str, step: u64, metrics: &Metrics) -> Result<(), StageError> {
        self.write(|store| store.step(phase, step, metrics))
    }

    fn timings(&mut self, phase: &str, step: u64, timings: &Metrics) -> Result<(), StageError> {
        match &mut self.own {
            Own::First(store) => store.timings(phase, step, timings),
            Own::Other(log) => log(&json!({"phase": phase, "step": step, "timings": timings})),
        }
    }

    fn groups(&mut self, phase: &str, step: u64, groups: &[ScoredGroup]) -> Result<(), StageError> {
        self.write(|store| store.groups(phase, step, groups))
    }

    fn judged(
        &mut self,
        phase: &str,
        step: u64,
        groups: &[(JudgedGroup, Vec<Verdict>)],
    ) -> Result<(), StageError> {
        self.write(|store| store.judged(phase, step, groups))
    }

    fn event(&mut self, kind: &str, details: Value) -> Result<(), StageError> {
        match &mut self.own {
            Own::First(store) => store.event(kind, details),
            Own::Other(log) => log(&json!({"event": kind, "details": details})),
        }
    }
}

impl RunStore for SharedStore<'_> {
    fn resume(&mut self) -> Result<Option<Checkpoint>, StageError> {
        let own = &mut self.own;
        from_first(self.peers, || own.store_mut().map_or(Ok(None), RunStore::resume))
    }

    fn checkpoint(
        &mut self,
        cursor: Cursor,
        parts: &[(&str, &dyn Checkpointed)],
        stages: &Value,
    ) -> Result<(), StageError> {
        self.write_together(|store| store.checkpoint(cursor, parts, stages))
    }

    /// Rank 0's: the others have nothing to say about it.
    fn last_checkpoint(&self) -> Option<PathBuf> {
        self.own.store().and_then(RunStore::last_checkpoint)
    }

    fn save_chunk(&mut self, policy_version: u64, key: &str, value: &Value) -> Result<(), StageError> {
        self.write(|store| store.save_chunk(policy_version, key, value))
    }

    fn load_chunk(&self, policy_version: u64, key: &str) -> Option<Value> {
        let look = || Ok(self.own.store().and_then(|store| store.load_chunk(policy_version, key)));
        // A rank that is gone is found out by the next operation, which can say so.
        from_first(self.peers, look).ok().flatten()
    }

    fn save_kept(&mut self, phase: &str, groups: &[(JudgedGroup, Vec<Verdict>)]) -> Result<(), StageError> {
        self.write_together(|store| store.save_kept(phase, groups))
    }

    fn load_kept(&self, phase: &str) -> Result<Vec<KeptAnswer>, StageError> {
        from_first(self.peers, || self.own.store().map_or(Ok(Vec::new()), |store| store.load_kept(phase)))
    }

    fn save_report(
        &mut self,
        phase: &str,
        benchmark: &str,
        graded: &[GradedGroup],
        report: &Value,
    ) -> Result<(), StageError> {
        self.write_together(|store| store.save_report(phase, benchmark, graded, report))
    }

    fn save_validation(
        &mut self,
        phase: &str,
        step: u64,
        benchmark: &str,
        graded: &[GradedGroup],
        report: &Value,
    ) -> Result<(), StageError> {
        self.write_together(|store| store.save_validation(phase, step, benchmark, graded, report))
    }

    fn save_best(&mut self, phase: &str, step: u64, policy: &dyn Checkpointed) -> Result<(), StageError> {
        self.write_together(|store| store.save_best(phase, step, policy))
    }

    fn best(&self, phase: &str, step: u64) -> Result<PathBuf, StageError> {
        from_first(self.peers, || {
            self.own.store().map_or(Ok(PathBuf::new()), |store| store.best(phase, step))
        })
    }

    fn drop_best(&mut self, phase: &str, keep: u64) -> Result<(), StageError> {
        self.write_together(|store| store.drop_best(phase, keep))
    }

    fn keep_batch(
        &mut self,
        phase: &str,
        step: u64,
        failed: &FailedBatch<'_>,
        policy: &dyn Checkpointed,
    ) -> Result<PathBuf, StageError> {
        let own = &mut self.own;
        from_first(self.peers, || {
            own.store_mut().map_or(Ok(PathBuf::new()), |store| store.keep_batch(phase, step, failed, policy))
        })
    }

    fn phase_done(&mut self, phase: &str, policy: &dyn Checkpointed) -> Result<(), StageError> {
        self.write_together(|store| store.phase_done(phase, policy))
    }

    fn check_replaced(&mut self, phase: &str, stages: &[&str]) -> Result<(), StageError> {
        self.write_together(|store| store.check_replaced(phase, stages))
    }

    fn finish(&mut self, policy: &dyn Checkpointed) -> Result<(), StageError> {
        self.write_together(|store| store.finish(policy))
    }

    fn is_finished(&self) -> bool {
        let look = || Ok(self.own.store().is_some_and(RunStore::is_finished));
        from_first(self.peers, look).unwrap_or(false)
    }
}
