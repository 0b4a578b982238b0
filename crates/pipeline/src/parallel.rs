//! Scoring on all cores: rewards, judges and graders are `Sync` and hold no tensor.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use reft_core::StageError;

/// `f` of every item, in order. The first error by position wins, so a failure does not depend on the threads.
pub(crate) fn try_map<T: Sync, R: Send>(
    items: &[T],
    f: impl Fn(&T) -> Result<R, StageError> + Sync,
) -> Result<Vec<R>, StageError> {
    // Threads of its own, as a reward may wait for a program or a server; as many as the run is given.
    let threads = rayon::current_num_threads().min(items.len());
    if threads < 2 {
        return items.iter().map(f).collect();
    }
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<R, StageError>>>> = Mutex::new(items.iter().map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(i) else { break };
                    let result = f(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner)[i] = Some(result);
                }
            });
        }
    });
    // The scope passes a panic of `f` on, so every slot is filled here.
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_the_first_error_wins() {
        let items: Vec<u32> = (0..100).collect();
        assert_eq!(try_map(&items, |i| Ok(i * 2)).unwrap(), items.iter().map(|i| i * 2).collect::<Vec<_>>());
        let error =
            try_map(
                &items,
                |&i| {
                    if i % 30 == 29 { Err(StageError::other(i.to_string(), "odd")) } else { Ok(()) }
                },
            );
        assert_eq!(error.unwrap_err().to_string(), "29: odd");
    }
}
