//! Panics of the main thread: memory that ran out inside libtorch, or a fault of ours. A person is told what happened and
//! how to go on, and the run's events keep it. Panics of other threads, such as those of a reward, are caught where they
//! belong.

use std::{
    io::{self, Write as _},
    panic::{self, AssertUnwindSafe, Location, PanicHookInfo},
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use curr_reft::store::note_panic;

/// The run that is at work, if any.
static RUN: OnceLock<PathBuf> = OnceLock::new();

/// What libtorch says when memory runs out, on CPUs and on GPUs.
const OUT_OF_MEMORY: [&str; 4] = ["not enough memory", "out of memory", "can't allocate memory", "bad_alloc"];

/// From now on panics are about this run.
pub(crate) fn working_on(run: &Path) {
    // A process works on one run.
    let _ = RUN.set(run.to_owned());
}

/// `work`, and none where it has panicked, which was explained by then.
pub(crate) fn explained<T>(work: impl FnOnce() -> T) -> Option<T> {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().name() == Some("main") { explain(info) } else { usual(info) }
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

/// What has happened, from the words of a panic, and what can be done about it.
fn explanation(text: &str, location: Option<&Location<'_>>) -> String {
    if OUT_OF_MEMORY.iter().any(|words| text.contains(words)) {
        let held = memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem >> 20);
        let first = text.lines().next().unwrap_or_default();
        format!(
            "out of memory; the process held {held} MiB and asked for more ({first}); lower `micro_batch_tokens`, \
             `prompts_per_step`, `sampling.group_size`, `sampling.max_new_tokens` or `model.max_pixels`, set \
             `recompute = true`, or train an adapter (`model.lora`); `reft doctor --model DIR` tells what a model needs"
        )
    } else {
        let at = location.map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        format!("a fault of reft itself{at}: {text}")
    }
}

fn explain(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    let what = explanation(text, info.location());
    let mut stderr = io::stderr();
    // With nowhere left to complain, the exit code still says it.
    let _ = writeln!(stderr, "error: {what}");
    if let Some(run) = RUN.get() {
        let _ = note_panic(run, &what);
        let run = run.display();
        let _ = writeln!(
            stderr,
            "what was saved is kept; continue with `reft train --resume {run}`, after a change of settings in \
             {run}/config.toml where one is needed"
        );
    }
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        let _ = writeln!(stderr, "{}", std::backtrace::Backtrace::force_capture());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_runs_out_is_told_from_a_fault_of_ours() {
        let said =
            explanation("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes\nframe #0: x", None);
        assert!(said.starts_with("out of memory; the process held "), "{said}");
        assert!(
            said.contains("you tried 8 bytes); lower `micro_batch_tokens`, `prompts_per_step`"),
            "{said}"
        );
        assert!(!said.contains(['\n', '\\']), "{said}");
        assert_eq!(explanation("index 3", None), "a fault of reft itself: index 3");
    }
}
