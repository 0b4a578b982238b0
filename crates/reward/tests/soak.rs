//! Some hundred hostile texts through everything that reads model output. `examples/soak.rs` goes on for as long as it
//! is told to; `fuzz/` has the same checks for cargo-fuzz.

#[path = "entry/mod.rs"]
mod entry;
#[path = "entry/texts.rs"]
mod texts;

use std::time::{Duration, Instant};

use reft_core::Seed;

const ANSWERS: [&str; 8] = [
    r"\frac{8\sqrt{3}+\pi}{4}",
    r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}",
    r"(-\infty, 3) \cup [5, \infty)",
    r"x^2 + 3x + 2 = 0",
    r"1,234,567.89 \text{ cm}^2",
    r"\log_{2} 8 + \binom{6}{3} - 4! + |{-3}|",
    r"\{1, 2, \pm 3\}",
    r"\sin(\frac{\pi}{6}) e^{2x}",
];

/// Unoptimised, on a busy machine, over every reward: far above the 10 ms that a release build takes at most for a call.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn hostile_texts_are_scored_within_bounds() {
    let seed = Seed::new(1);
    for n in 0..500 {
        let text = texts::text(seed, n, &ANSWERS);
        let start = Instant::now();
        entry::completion(&text);
        entry::mathematics(ANSWERS[n as usize % ANSWERS.len()], &text);
        if n % 10 == 0 && text.len() < 5_000 {
            entry::peers(&text);
        }
        let took = start.elapsed();
        assert!(took < PATIENCE, "{took:?}: text {n}, {}", text.chars().take(80).collect::<String>());
    }
}

#[test]
fn a_hundred_kilobytes_of_noise_take_no_time() {
    let noise = [
        "<answer>".repeat(12_500),
        "<think></think><answer>".repeat(4_347),
        "\\frac{".repeat(16_000),
        "<think>t</think><answer>".to_owned() + &"[1, 2, 3, 4], ".repeat(7_000) + "</answer>",
        "<think>t</think><answer>".to_owned() + &"{\"bbox_2d\": [".repeat(7_000) + "</answer>",
        "<think>t</think><answer>".to_owned() + &"cat, ".repeat(20_000) + "</answer>",
        "<think>t</think><answer>".to_owned() + &"A, ".repeat(30_000) + "</answer>",
        "<think>t</think><answer>".to_owned() + &"((".repeat(49_000) + "</answer>",
        "\u{1F600}\u{0301}\u{200d}".repeat(11_000),
        "<answer>\n".repeat(11_000) + "</answer>",
        "{\"a\": {".repeat(12_000),
        "1２".repeat(25_000),
        " 1.+".repeat(25_000),
    ];
    for text in noise {
        let start = Instant::now();
        entry::completion(&text);
        entry::mathematics("12", &text);
        assert!(
            start.elapsed() < PATIENCE,
            "{:?}: {}",
            start.elapsed(),
            text.chars().take(80).collect::<String>()
        );
    }
}
