//! A program of the user's that answers JSON lines: a pool of processes, each answering one question at a time.
//!
//! Protocol: one JSON object per line on standard input, one JSON object per line on standard output, in order, flushed
//! after each line. Each question has an `id`, which its answer repeats: a line that belongs to no question, such as one
//! that a library prints, is never taken for an answer. What the program writes to standard error is shown where it fails. When its input ends it should
//! end too.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use crate::{
    CallError,
    process::{Process, Silence},
};

/// What is run, and how patiently.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramSpec {
    /// The program and its arguments, without a shell.
    pub command: Vec<String>,
    /// Processes at most; each answers one question at a time. At least 1.
    pub processes: usize,
    /// Longest wait for an answer; a process that takes longer is killed, and the question is not asked again.
    pub timeout: Duration,
    /// How often a question is asked again after its process crashed.
    pub retries: u32,
}

/// A pool of processes of one program. They start when they are needed.
pub struct Program {
    spec: ProgramSpec,
    pool: Mutex<Pool>,
    returned: Condvar,
    /// Questions asked so far.
    asked: AtomicU64,
}

/// The processes that nobody waits for.
#[derive(Default)]
struct Pool {
    idle: Vec<Process>,
    /// Processes in all, idle or busy.
    running: usize,
}

impl Program {
    /// A pool that has started nothing yet.
    pub fn new(spec: ProgramSpec) -> Self {
        Self { spec, pool: Mutex::default(), returned: Condvar::new(), asked: AtomicU64::new(0) }
    }

    /// What is run.
    pub fn spec(&self) -> &ProgramSpec {
        &self.spec
    }

    /// Asks one question, a JSON object. Waits for a free process without limit: each busy one is limited.
    pub fn call(&self, request: &Value) -> Result<Value, CallError> {
        let id = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut request = request.clone();
        request["id"] = id.into();
        let request = request.to_string();
        let mut reason = String::new();
        for _ in 0..=self.spec.retries {
            let mut process = self.take()?;
            match process.call(&request, self.spec.timeout) {
                Ok(line) => match answer(&line, id) {
                    Ok(answer) => {
                        self.put_back(process);
                        return Ok(answer);
                    }
                    Err(error) => {
                        // Whatever it writes next may belong to another question.
                        self.discard(process);
                        return Err(error);
                    }
                },
                Err(Silence::Timeout) => {
                    self.discard(process);
                    return Err(CallError::Timeout(self.spec.timeout));
                }
                Err(Silence::Ended(words)) => {
                    self.discard(process);
                    reason = words;
                }
            }
        }
        let name = self.spec.command.join(" ");
        Err(CallError::Failed(format!("`{name}`: {reason}")))
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Result<Process, CallError> {
        let mut pool = self.pool();
        loop {
            if let Some(process) = pool.idle.pop() {
                return Ok(process);
            }
            if pool.running < self.spec.processes.max(1) {
                let process = Process::start(&self.spec.command).map_err(CallError::Unusable)?;
                pool.running += 1;
                return Ok(process);
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put_back(&self, process: Process) {
        self.pool().idle.push(process);
        self.returned.notify_one();
    }

    fn discard(&self, process: Process) {
        drop(process);
        self.pool().running -= 1;
        self.returned.notify_one();
    }
}

/// A JSON object with the question's id, as every answer must be.
fn answer(line: &str, id: u64) -> Result<Value, CallError> {
    let shown = || line.chars().take(200).collect::<String>();
    let Ok(Value::Object(mut answer)) = serde_json::from_str(line) else {
        let message = format!("an answer must be a JSON object on one line, not `{}`", shown());
        return Err(CallError::Failed(message));
    };
    match answer.shift_remove("id") {
        Some(repeated) if repeated == id => Ok(Value::Object(answer)),
        repeated => {
            let found = repeated.map_or_else(|| "none".to_owned(), |repeated| repeated.to_string());
            Err(CallError::Failed(format!(
                "an answer must repeat the `id` of its question, {id}, and this has {found}: `{}`; what is no answer \
                 belongs on standard error",
                shown()
            )))
        }
    }
}
