//! One running program: a line in, a line out.

use std::{
    io::{BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use crate::output::{Tail, line};

/// How long a program may take to end after its input was closed, in steps of [`PAUSE`].
const PATIENCE: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Why a line was not answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Not in time. The program may be anywhere in its work and must be dropped.
    Timeout,
    /// It ended, or wrote something that is no line; what it said last.
    Ended(String),
}

/// A program that waits for a line. Dropping it closes its input, gives it a moment, then kills it.
pub(crate) struct Process {
    child: Child,
    /// To the thread that writes and reads; none once the input is closed.
    ask: Option<Sender<String>>,
    answer: Receiver<Result<String, String>>,
    errors: Tail,
    /// Whether an answer is still owed: then it is killed at once.
    busy: bool,
}

impl Process {
    /// Starts `command`, the program and its arguments.
    pub(crate) fn start(command: &[String]) -> Result<Self, String> {
        let (program, arguments) = command.split_first().ok_or("the command is empty")?;
        let mut builder = Command::new(program);
        builder.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal is for us: we finish the step, and the program must still be there.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut builder, 0);
        let mut child = builder.spawn().map_err(|error| format!("`{program}` does not start: {error}"))?;

        let (ask, asked) = mpsc::channel();
        let (reply, answer) = mpsc::channel();
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(format!("`{program}` has no pipes"));
        };
        let no_thread = |error| format!("no thread for `{program}`: {error}");
        let errors = Tail::follow(stderr).map_err(no_thread)?;
        thread::Builder::new()
            .name("reft-remote-program".to_owned())
            .spawn(move || talk(stdin, stdout, &asked, &reply))
            .map_err(no_thread)?;
        Ok(Self { child, ask: Some(ask), answer, errors, busy: false })
    }

    /// One line out, one line back.
    pub(crate) fn call(&mut self, request: &str, limit: Duration) -> Result<String, Silence> {
        self.busy = true;
        let sent = self.ask.as_ref().is_some_and(|ask| ask.send(request.to_owned()).is_ok());
        if !sent {
            return Err(Silence::Ended(self.last_words("it ended")));
        }
        match self.answer.recv_timeout(limit) {
            Ok(Ok(line)) => {
                self.busy = false;
                Ok(line)
            }
            Ok(Err(reason)) => Err(Silence::Ended(self.last_words(&reason))),
            Err(RecvTimeoutError::Timeout) => Err(Silence::Timeout),
            Err(RecvTimeoutError::Disconnected) => Err(Silence::Ended(self.last_words("it ended"))),
        }
    }

    /// How it ended and what it wrote to its error output.
    fn last_words(&mut self, reason: &str) -> String {
        let ended = (0..PATIENCE).find_map(|_| match self.child.try_wait() {
            Ok(Some(status)) => Some(status.to_string()),
            Ok(None) => {
                thread::sleep(PAUSE);
                None
            }
            Err(error) => Some(error.to_string()),
        });
        let status = ended.map(|status| format!(" ({status})")).unwrap_or_default();
        let errors = Some(self.errors.text()).filter(|errors| !errors.is_empty());
        let errors = errors.map(|errors| format!("; it wrote: {errors}")).unwrap_or_default();
        format!("{reason}{status}{errors}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ask = None;
        let patience = if self.busy { 0 } else { PATIENCE };
        let ended = (0..patience).any(|_| {
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            if !ended {
                thread::sleep(PAUSE);
            }
            ended
        });
        // What it has started is in its process group and ends with it, also where the program itself has ended.
        #[cfg(unix)]
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::KILL,
        );
        if !ended {
            // Both fail only where the program is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Writes every line that is asked and sends back what the program answers, until one side ends. In a thread of its
/// own, because both may block for good.
fn talk(
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    asked: &Receiver<String>,
    reply: &Sender<Result<String, String>>,
) {
    let mut reader = BufReader::new(stdout);
    while let Ok(request) = asked.recv() {
        let written = writeln!(stdin, "{request}").and_then(|()| stdin.flush());
        let answer = match written.and_then(|()| line(&mut reader)) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err("it closed its output".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let ended = answer.is_err();
        if reply.send(answer).is_err() || ended {
            return;
        }
    }
}
