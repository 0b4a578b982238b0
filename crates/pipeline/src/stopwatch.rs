//! How long the parts of a step take, on this rank and on the others.

use std::time::{Duration, Instant};

use reft_core::{Metrics, Peers, StageError};

use crate::share::tell;

/// Measures the parts of a step. Loops are timed, stages are not.
pub(crate) struct Stopwatch {
    start: Instant,
    lap: Instant,
    /// What this rank had waited for others before.
    waited: Duration,
    timings: Metrics,
}

impl Stopwatch {
    pub(crate) fn start(peers: &dyn Peers) -> Self {
        let now = Instant::now();
        Self { start: now, lap: now, waited: peers.waited(), timings: Metrics::new() }
    }

    /// Ends a part of the step and returns its seconds.
    pub(crate) fn lap(&mut self, name: &str) -> f64 {
        let seconds = self.skip();
        self.timings.add(format!("time/{name}_s"), seconds);
        seconds
    }

    /// Ends what is no part of the step, waiting, and returns its seconds.
    pub(crate) fn skip(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = (now - self.lap).as_secs_f64();
        self.lap = now;
        seconds
    }

    /// Ends a rollout and notes its tokens and its speed; one that had begun before has none.
    pub(crate) fn lap_rollout(&mut self, tokens: usize, had_begun: bool) {
        let seconds = self.lap("rollout");
        self.timings.add("rollout/tokens", tokens as f64);
        if seconds > 0.0 && !had_begun {
            self.timings.set("time/rollout_tokens_per_s", tokens as f64 / seconds);
        }
    }

    /// All parts and the whole, and the memory that the process holds now. On rank 0 those of the other ranks too, as
    /// `rank1/time/step_s`, and which was the slowest: it waits least.
    pub(crate) fn stop(mut self, peers: &dyn Peers) -> Result<Metrics, StageError> {
        self.timings.set("time/step_s", self.start.elapsed().as_secs_f64());
        if let Some(memory) = memory_stats::memory_stats() {
            self.timings.set("memory/resident_mib", memory.physical_mem as f64 / f64::from(1 << 20));
        }
        if peers.size() == 1 {
            return Ok(self.timings);
        }
        self.timings.set("time/wait_s", peers.waited().saturating_sub(self.waited).as_secs_f64());
        let all = tell(peers, Ok(self.timings.clone()))?;
        Ok(if peers.rank() == 0 { of_all_ranks(&all) } else { self.timings })
    }
}

fn of_all_ranks(all: &[Metrics]) -> Metrics {
    let mut timings = all[0].clone();
    for (rank, others) in all.iter().enumerate().skip(1) {
        for (name, value) in others.iter() {
            timings.set(format!("rank{rank}/{name}"), value);
        }
    }
    let waited: Vec<f64> = all.iter().map(|timings| timings.get("time/wait_s").unwrap_or(0.0)).collect();
    let slowest = (0..waited.len()).min_by(|&a, &b| waited[a].total_cmp(&waited[b])).unwrap_or(0);
    timings.set("ranks/slowest", slowest as f64);
    timings.set("ranks/wait_s", waited.into_iter().fold(0.0, f64::max));
    timings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_rank_is_the_one_that_waits_least() {
        let of = |wait: f64, tokens: f64| {
            let mut timings = Metrics::new();
            timings.set("time/wait_s", wait);
            timings.set("rollout/tokens", tokens);
            timings
        };
        let all = of_all_ranks(&[of(3.0, 10.0), of(0.5, 30.0), of(2.0, 20.0)]);
        let expected = [
            ("time/wait_s", 3.0),
            ("rollout/tokens", 10.0),
            ("rank1/time/wait_s", 0.5),
            ("rank1/rollout/tokens", 30.0),
            ("rank2/time/wait_s", 2.0),
            ("rank2/rollout/tokens", 20.0),
            ("ranks/slowest", 1.0),
            ("ranks/wait_s", 3.0),
        ];
        assert_eq!(all.iter().count(), expected.len());
        for (name, value) in expected {
            assert_eq!(all.get(name), Some(value), "{name}");
        }
    }
}
