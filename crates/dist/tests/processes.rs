//! Ranks as processes that are killed, stopped, or come too late.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a rank tells the test that has started it")]

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use reft_dist::{DistError, Group, Op, World};
use tch::{Device, Kind, Tensor};

/// What the others start as a process of its own: joins, says so, and sums until an operation fails. Started by nobody it is
/// alone.
#[test]
fn as_a_rank() {
    let Ok(timeout) = env::var("REFT_TIMEOUT") else {
        assert_eq!(World::from_env(), Ok(World::alone()));
        return;
    };
    let timeout = Duration::from_millis(timeout.parse().unwrap());
    let world = World::from_env().unwrap();
    let group = Group::join(&world, Device::Cpu, timeout).unwrap_or_else(|error| end(&error));
    say("joined");
    loop {
        let x = Tensor::ones([1000], (Kind::Float, Device::Cpu));
        group.all_reduce(&x, Op::Sum).unwrap_or_else(|error| end(&error));
        thread::sleep(Duration::from_millis(5));
    }
}

fn say(line: &str) {
    println!("{line}");
}

fn end(error: &DistError) -> ! {
    say(&format!("error: {error}"));
    panic!("ends as a rank does whose group is gone");
}

struct Rank {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Rank {
    fn start(rank: usize, size: usize, port: u16, timeout_ms: u64) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "as_a_rank", "--nocapture"])
            .env("RANK", rank.to_string())
            .env("WORLD_SIZE", size.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", port.to_string())
            .env("REFT_TIMEOUT", timeout_ms.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that a rank says itself.
    fn says(&mut self) -> String {
        loop {
            let line = self.lines.next().unwrap().unwrap();
            // libtest writes the test's name before the first.
            if let Some(at) = line.find("joined").or_else(|| line.find("error: ")) {
                return line[at..].to_owned();
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(size: usize, timeout_ms: u64) -> Vec<Rank> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut ranks: Vec<Rank> = (0..size).map(|rank| Rank::start(rank, size, port, timeout_ms)).collect();
    for rank in &mut ranks {
        assert_eq!(rank.says(), "joined");
    }
    ranks
}

#[test]
fn a_rank_that_is_killed_is_named_by_the_others_at_once() {
    let mut ranks = start(3, 60_000);
    ranks[2].signal("-KILL");
    for rank in [0, 1] {
        let said = ranks[rank].says();
        assert!(
            said.starts_with(&format!(
                "error: rank {rank}: all_reduce failed, rank 2 is gone or does not answer: "
            )),
            "{said}"
        );
        assert_eq!(ranks[rank].end().code(), Some(101));
    }
}

/// The rank that serves the store does not end before the last has been told.
#[test]
fn a_rank_that_asks_for_long_is_told_too() {
    let mut ranks = start(3, 60_000);
    ranks[2].signal("-KILL");
    thread::sleep(Duration::from_millis(500));
    // Behind the time at which the first is done.
    ranks[1].signal("-STOP");
    thread::sleep(Duration::from_secs(6));
    ranks[1].signal("-CONT");
    for rank in [0, 1] {
        let said = ranks[rank].says();
        assert!(said.contains("all_reduce failed, rank 2 is gone or does not answer: "), "{said}");
    }
}

#[test]
fn a_rank_that_hangs_is_named_at_the_time_limit() {
    let mut ranks = start(2, 2_000);
    ranks[1].signal("-STOP");
    let said = ranks[0].says();
    assert!(said.contains("rank 1 is gone or does not answer"), "{said}");
    ranks[1].signal("-CONT");
}

#[test]
fn without_the_rank_that_serves_the_store_the_others_end_too() {
    let mut ranks = start(2, 60_000);
    ranks[0].signal("-KILL");
    let said = ranks[1].says();
    assert!(said.contains("the store is gone with the process that serves it"), "{said}");
    assert_eq!(ranks[1].end().code(), Some(101));
}

#[test]
fn a_rank_that_never_comes_ends_the_wait_of_the_others() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut lone = Rank::start(0, 2, port, 1_500);
    let said = lone.says();
    assert!(said.starts_with("error: rank 0 of 2 cannot meet the others at 127.0.0.1:"), "{said}");
    assert_eq!(lone.end().code(), Some(101));
}
