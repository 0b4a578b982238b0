//! How long a run has taken and how long it will, from the steps that were measured and the phases to come.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use curr_reft::pipeline::{PhaseInfo, PhasePlan};

/// Time of a run in this process.
pub(crate) struct Pace {
    started: Instant,
    /// Of phases by kind, the one at hand among them.
    kinds: HashMap<&'static str, Measured>,
    current: Option<Current>,
}

/// What steps of a kind took.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    steps: u64,
    phases: u64,
    took: Duration,
}

/// The phase at hand.
struct Current {
    kind: &'static str,
    /// Since its start, or the process's.
    since: Instant,
    /// Steps that an earlier process did.
    resumed: u64,
    done: u64,
    total: u64,
    ahead: Vec<PhasePlan>,
}

/// Time that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Of the phases whose kind was measured.
    pub(crate) time: Duration,
    /// Whether these are all.
    pub(crate) is_all: bool,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), kinds: HashMap::new(), current: None }
    }

    /// A phase begins; the one before has ended.
    pub(crate) fn phase(&mut self, phase: &PhaseInfo<'_>) {
        self.end_phase();
        self.current = Some(Current {
            kind: phase.kind,
            since: Instant::now(),
            resumed: phase.done,
            done: phase.done,
            total: phase.total,
            ahead: phase.ahead.to_vec(),
        });
    }

    /// `done` steps of the phase are done.
    pub(crate) fn step(&mut self, done: u64) {
        if let Some(current) = &mut self.current {
            current.done = done;
        }
    }

    fn end_phase(&mut self) {
        if let Some(current) = self.current.take() {
            let measured = self.kinds.entry(current.kind).or_default();
            measured.add(current.done - current.resumed, current.since.elapsed());
            measured.phases += 1;
        }
    }

    /// `2m10s, 14m left`, `2m10s, over 14m left` where a phase to come is of a kind that was not measured yet.
    pub(crate) fn words(&self) -> String {
        let elapsed = words(self.started.elapsed());
        match self.left() {
            Some(Left { time, is_all: true }) => format!("{elapsed}, {} left", words(time)),
            Some(Left { time, is_all: false }) => format!("{elapsed}, over {} left", words(time)),
            None => elapsed,
        }
    }

    fn left(&self) -> Option<Left> {
        let current = self.current.as_ref()?;
        let here = current.done - current.resumed;
        (here > 0).then_some(())?;
        let took = current.since.elapsed();
        let mut kinds = self.kinds.clone();
        kinds.entry(current.kind).or_default().add(here, took);
        let rest = took.mul_f64((current.total - current.done.min(current.total)) as f64 / here as f64);
        Some(ahead(&kinds, rest, &current.ahead))
    }
}

/// The rest of a phase and the phases to come, by what their kinds took so far.
fn ahead(kinds: &HashMap<&'static str, Measured>, rest: Duration, ahead: &[PhasePlan]) -> Left {
    let estimates = ahead.iter().map(|phase| kinds.get(phase.kind)?.estimate(phase.steps));
    estimates.fold(Left { time: rest, is_all: true }, |left, estimate| match estimate {
        Some(time) => Left { time: left.time + time, ..left },
        None => Left { is_all: false, ..left },
    })
}

impl Measured {
    fn add(&mut self, steps: u64, took: Duration) {
        self.steps += steps;
        self.took += took;
    }

    /// A phase of so many steps; where that is not known yet, one like those that have ended.
    fn estimate(&self, steps: Option<u64>) -> Option<Duration> {
        let (part, whole) = match steps {
            Some(steps) => (steps, self.steps),
            None => (1, self.phases),
        };
        (whole > 0).then(|| self.took.mul_f64(part as f64 / whole as f64))
    }
}

/// `8s`, `2m10s`, `3h05m`.
fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn phases_to_come_take_what_their_kind_took() {
        let kinds = HashMap::from([
            ("grpo", Measured { steps: 10, phases: 0, took: 20 * SECOND }),
            ("eval", Measured { steps: 3, phases: 2, took: 8 * SECOND }),
        ]);
        let plan = |kind, steps| PhasePlan { kind, steps };
        let of = |phases: &[PhasePlan]| ahead(&kinds, SECOND, phases);
        let all = |seconds| Left { time: seconds * SECOND, is_all: true };
        assert_eq!(of(&[]), all(1));
        assert_eq!(of(&[plan("grpo", Some(30)), plan("eval", None), plan("eval", None)]), all(69));
        // No phase of supervised fine-tuning was seen, and no `grpo` phase has ended that an unknown one could be like.
        let some = Left { time: 3 * SECOND, is_all: false };
        assert_eq!(of(&[plan("grpo", Some(1)), plan("sft", Some(9))]), some);
        assert_eq!(of(&[plan("grpo", None)]), Left { time: SECOND, is_all: false });
    }

    #[test]
    fn times_in_words() {
        let times = [0, 59, 60, 130, 3600, 11_100].map(|seconds| words(seconds * SECOND));
        assert_eq!(times, ["0s", "59s", "1m00s", "2m10s", "1h00m", "3h05m"]);
    }
}
