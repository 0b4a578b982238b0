//! Ctrl-C: the first asks the run to stop after its current step, the second stops at once.

use std::{
    cell::Cell,
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// The exit code of a program that was interrupted, by the shell's convention.
const INTERRUPTED: i32 = 130;

/// Set by the first Ctrl-C, by the signal that a job scheduler sends before it kills, or by a terminal that closes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    asked: Arc<AtomicBool>,
    answered: Cell<bool>,
}

impl Interrupt {
    /// Starts listening. Once a process.
    pub(crate) fn listen() -> Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag still down and raises it, the second ends the process.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&interrupt.asked))
                .and_then(|_| flag::register(signal, Arc::clone(&interrupt.asked)))
                .context("cannot listen for Ctrl-C")?;
        }
        Ok(interrupt)
    }

    /// What a signal sets, for other threads.
    #[cfg(feature = "serve")]
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// Whether someone asked to stop. The first time it says that it was heard.
    pub(crate) fn asked(&self) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        if asked && !self.answered.replace(true) {
            let _ = writeln!(
                io::stderr(),
                "\nstopping; what is done is kept; press Ctrl-C again to stop at once"
            );
        }
        asked
    }
}
