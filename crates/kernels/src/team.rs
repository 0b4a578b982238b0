//! Threads that go through a piece of work together.
//!
//! A decode step of a small model is some dozen pieces of work of a few microseconds, each of which needs the one before.
//! Waking a thread takes longer than that, so these threads stay awake for the whole step, and wait for each other by
//! looking at a counter.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// Looks at a counter before a waiting thread lets others have its core.
const LOOKS: usize = 2_000;

/// How long a thread waits for the next round before it sleeps: longer than what lies between two decode steps.
const AWAKE: Duration = Duration::from_micros(300);

/// One of the threads, at work.
pub(crate) struct Member<'a> {
    /// `0..size`.
    pub(crate) index: usize,
    meeting: &'a Meeting,
}

impl Member<'_> {
    /// Returns when every member is here.
    pub(crate) fn wait(&self) {
        self.meeting.wait();
    }
}

/// Runs `lead` with a function that runs `work` on so many threads, this one included, and returns when all are done.
pub(crate) fn with_team<T>(
    size: usize,
    work: impl Fn(&Member<'_>) + Sync,
    lead: impl FnOnce(&dyn Fn()) -> T,
) -> T {
    let meeting = Meeting { size, ..Meeting::default() };
    let (meeting, work) = (&meeting, &work);
    thread::scope(|scope| {
        let follow = |index| {
            move || {
                let _alarm = Alarm { meeting, others: &[] };
                follow(&Member { index, meeting }, work);
            }
        };
        let others: Vec<Thread> =
            (1..size).map(|index| scope.spawn(follow(index)).thread().clone()).collect();
        let _alarm = Alarm { meeting, others: &others };
        lead(&|| {
            meeting.round.fetch_add(1, Ordering::Release);
            others.iter().for_each(Thread::unpark);
            work(&Member { index: 0, meeting });
            meeting.wait();
        })
    })
}

/// Takes part in every round until there are no more.
fn follow(member: &Member<'_>, work: &impl Fn(&Member<'_>)) {
    let meeting = member.meeting;
    for last in 0.. {
        let since = Instant::now();
        while meeting.round.load(Ordering::Acquire) == last && !meeting.is_over.load(Ordering::Acquire) {
            if since.elapsed() < AWAKE { spin_loop() } else { thread::park() }
        }
        if meeting.is_over.load(Ordering::Acquire) {
            return;
        }
        work(member);
        meeting.wait();
    }
}

/// Where the threads meet.
#[derive(Default)]
struct Meeting {
    size: usize,
    /// Rounds that have begun.
    round: AtomicUsize,
    /// Members that wait for the others.
    arrived: AtomicUsize,
    /// Times that all have met.
    met: AtomicUsize,
    is_over: AtomicBool,
}

impl Meeting {
    fn wait(&self) {
        // Nobody can meet without this thread, so the counter stands still until it has arrived.
        let met = self.met.load(Ordering::Relaxed);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.size {
            self.arrived.store(0, Ordering::Relaxed);
            self.met.store(met.wrapping_add(1), Ordering::Release);
            return;
        }
        for look in 0.. {
            // In this order: the last meeting of all comes before the end.
            let is_over = self.is_over.load(Ordering::Acquire);
            if self.met.load(Ordering::Acquire) != met {
                return;
            }
            assert!(!is_over, "a thread of the team has panicked");
            if look < LOOKS { spin_loop() } else { thread::yield_now() }
        }
    }
}

/// Ends the meeting when a thread leaves, be it by a panic: nobody may wait for one that does not come.
struct Alarm<'a> {
    meeting: &'a Meeting,
    others: &'a [Thread],
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.meeting.is_over.store(true, Ordering::Release);
        self.others.iter().for_each(Thread::unpark);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn members_see_what_others_did_before_they_met() {
        let counts: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        let total = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>();
        let work = |member: &Member<'_>| {
            for turn in 1..=50 {
                counts[member.index].fetch_add(1, Ordering::Relaxed);
                member.wait();
                assert_eq!(total() % 150, 3 * turn % 150);
                member.wait();
            }
        };
        with_team(3, work, |round| {
            for n in 1..=20 {
                round();
                assert_eq!(total(), 150 * n);
                if n % 5 == 0 {
                    thread::sleep(2 * AWAKE);
                }
            }
        });
    }

    #[test]
    fn a_panic_of_one_ends_all() {
        for culprit in 0..3 {
            let work = |member: &Member<'_>| {
                assert_ne!(member.index, culprit, "on purpose");
                member.wait();
            };
            let run = || with_team(3, work, |round| round());
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        }
    }
}
