//! Hostile texts through everything that reads model output, for as long as you like.
//!
//! ```text
//! cargo run --release -p reft-reward --example soak -- SECONDS [SEED [FIRST]]
//! ```
//!
//! Makes the texts that `tests/soak.rs` makes, and more, from answers of `fixtures/cases/math_set_1.jsonl`. Prints how
//! many there were and the slowest call of each kind; panics where a check fails or a call takes more than 10 ms of
//! a processor (the fastest of five), and ends where memory grows by more than 64 MiB. With FIRST it starts at that
//! text and says the number of each before it is read: so the one that ended a soak is found.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the soak")]
#![expect(clippy::print_stdout, reason = "this is what it says")]

#[path = "../tests/entry/mod.rs"]
mod entry;
#[path = "../tests/entry/texts.rs"]
mod texts;

use std::{
    alloc::System,
    env,
    time::{Duration, Instant},
};

use cap::Cap;
use cpu_time::ThreadTime;
use reft_config::RewardConfig;
use reft_core::{Completion, Seed};
use reft_reward::RewardName;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes that memory may grow by while texts are read.
const GROWTH: usize = 64 << 20;

/// Longest that one call may take.
const LIMIT: Duration = Duration::from_millis(10);

/// Longest that all rewards of other projects may take together.
const PATIENCE: Duration = Duration::from_secs(5);

/// The slowest call of a kind.
#[derive(Default)]
struct Slowest {
    took: Duration,
    text: String,
}

impl Slowest {
    fn time<T>(&mut self, text: &str, call: impl Fn() -> T) {
        let once = || {
            let start = ThreadTime::now();
            std::hint::black_box(call());
            start.elapsed()
        };
        let mut took = once();
        if took > self.took {
            took = (0..4).map(|_| once()).fold(took, Duration::min);
        }
        if took > self.took {
            *self = Self { took, text: text.to_owned() };
            assert!(took <= LIMIT, "{took:?}: {}", shown(text));
        }
    }
}

/// The beginning of a text and its length.
fn shown(text: &str) -> String {
    format!("{} bytes {:?}", text.len(), text.chars().take(200).collect::<String>())
}

fn main() {
    let mut arguments = env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(10, |text| text.parse().unwrap());
    let seed = Seed::new(arguments.next().map_or(1, |text| text.parse().unwrap()));
    let first: Option<u64> = arguments.next().map(|text| text.parse().unwrap());
    let set: Vec<(String, String, String, u8)> = include_str!("../../../fixtures/cases/math_set_1.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let answers: Vec<&str> = set.iter().map(|(_, _, answer, _)| answer.as_str()).collect();
    let paper = RewardName::Paper.build(&RewardConfig::default(), None);

    MEMORY.set_limit(MEMORY.allocated() + GROWTH).unwrap();

    let (mut rewards, mut maths) = (Slowest::default(), Slowest::default());
    let start = Instant::now();
    let mut n = first.unwrap_or(0);
    while start.elapsed() < Duration::from_secs(seconds) {
        if first.is_some() {
            println!("text {n}");
        }
        let text = texts::text(seed, n, &answers);
        let gold = answers[n as usize % answers.len()];
        entry::completion(&text);
        entry::mathematics(gold, &text);
        if n.is_multiple_of(20) {
            let before = ThreadTime::now();
            entry::peers(&text);
            assert!(before.elapsed() < PATIENCE, "{:?}: {}", before.elapsed(), shown(&text));
        }
        maths.time(&text, || reft_math::equal(gold, &text));
        maths.time(&text, || reft_math::equal(&text, &format!("{text}+0")));
        let completion = Completion::from_text(text.clone());
        for (form, task, solution) in entry::QUESTIONS {
            let sample = entry::sample(form, task, solution);
            rewards.time(&text, || paper.score(&sample, &completion));
        }
        n += 1;
        if n.is_multiple_of(10_000) {
            println!("{n} texts, {} s", start.elapsed().as_secs());
        }
    }
    println!("{n} texts in {seconds} s");
    for (kind, slowest) in [("reward", rewards), ("math", maths)] {
        println!("slowest {kind}: {:?}: {}", slowest.took, shown(&slowest.text));
    }
}
