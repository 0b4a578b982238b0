//! Ranks as threads of a test.

use std::sync::{Arc, Barrier, Mutex, PoisonError};

use reft_core::{Peers, StageError};

type Words = Vec<Option<Result<Vec<u8>, String>>>;

/// One rank of several that are threads: words go through memory.
#[derive(Clone)]
pub struct ThreadPeers {
    rank: usize,
    said: Arc<Mutex<Words>>,
    all_here: Arc<Barrier>,
}

impl ThreadPeers {
    /// All ranks, each for a thread of its own.
    pub fn all(size: usize) -> Vec<Self> {
        let (said, all_here) = (Arc::new(Mutex::new(vec![None; size])), Arc::new(Barrier::new(size)));
        let one = |rank| Self { rank, said: Arc::clone(&said), all_here: Arc::clone(&all_here) };
        (0..size).map(one).collect()
    }
}

impl Peers for ThreadPeers {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn exchange(&self, own: Result<Vec<u8>, String>) -> Result<Vec<Vec<u8>>, StageError> {
        let said = || self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said()[self.rank] = Some(own);
        self.all_here.wait();
        let all = said().clone();
        // Nobody speaks again before everyone has heard.
        self.all_here.wait();
        let word = |(rank, word): (usize, Option<Result<Vec<u8>, String>>)| {
            let word = word.unwrap_or_else(|| Err("said nothing".into()));
            word.map_err(|message| StageError::other(format!("rank {rank}"), message))
        };
        all.into_iter().enumerate().map(word).collect()
    }
}
