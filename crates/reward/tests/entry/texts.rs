//! Texts to try: a corpus of tricks and their mutations, from a seed.

use reft_core::Seed;

/// Longest text that is made.
pub(crate) const LONGEST: usize = 100_000;

/// Pieces that readers look for.
const PIECES: [&str; 80] = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<ANSWER>",
    "< answer>",
    "<answer",
    "answer>",
    "```json\n",
    "```",
    "\n",
    " ",
    "\u{a0}",
    "\u{200b}",
    "\u{202e}",
    "\u{fffd}",
    "yes",
    "no",
    "not",
    "A",
    "B.",
    "(C)",
    "A, B, C, D, E",
    "a cat",
    "cat, dog, traffic light, horse, bird",
    "[10, 20, 110, 220]",
    "{\"bbox_2d\": [10, 20, 110, 220], \"label\": \"cat\"}",
    "[[0, 0, 9, 9], [20, 0, 30, 9]]",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "|",
    ",",
    ";",
    ":",
    "\"",
    "'",
    "12",
    "1２",
    "𝟏𝟐",
    "１２",
    "١٢",
    "-",
    "−",
    "+",
    "*",
    "/",
    "^",
    "_",
    "!",
    "%",
    "\\%",
    "=",
    "<",
    "\\le ",
    "\\pm ",
    "\\frac{1}{2}",
    "\\frac",
    "\\sqrt{3}",
    "\\sqrt",
    "\\pi",
    "\\sin",
    "\\log_",
    "\\binom{5}{2}",
    "\\begin{pmatrix}",
    "\\\\",
    "\\end{pmatrix}",
    "\\text{",
    "\\boxed{",
    "(1\\pm ",
    "1\\frac{",
    "**",
    "$",
    "<|box_start|>(10,20),(110,220)<|box_end|>",
    "(10,20),(110,220)",
    "<ref>cat</ref>",
    "x^2+y^2=",
];

/// Whole answers that someone may try: right ones, look-alikes, lists of everything.
const TRICKS: [&str; 24] = [
    "<think>t</think><answer>12</answer>",
    "<think>t</think><answer>\\frac{\\sqrt{3}}{2}</answer>",
    "<think>t</think><answer>[10, 20, 110, 220]</answer>",
    "<think>t</think><answer>A, C</answer>",
    "<think>t</think><answer>yes</answer>",
    "<think>t</think><answer>cat, traffic light</answer>",
    "<think>t</think><answer>red</answer>",
    "<think>t</think><answer>A, B, C, D, E</answer>",
    "<think>t</think><answer>yes no</answer>",
    "<think>t</think><answer>1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13</answer>",
    "<think>t</think><answer>[[0,0,1,1],[10,20,110,220],[0,0,9,9],[20,0,30,9],[1,1,2,2],[3,3,4,4],[5,5,6,6],[7,7,8,8],[9,9,10,10],[11,11,12,12]]</answer>",
    "<think><answer>12</answer></think><answer>13</answer>",
    "<answer><answer>12</answer></answer>",
    "<think><think>t</think></think><answer>12</answer><answer>13</answer>",
    "<think>t</think><аnswer>12</аnswer>",
    "＜think＞t＜/think＞＜answer＞12＜/answer＞",
    "<think>t</think><answer>x12y</answer>",
    "<think>t</think><answer>уes</answer>",
    "<think>t</think><answer>0/0</answer>",
    "<think>t</think><answer>12=13</answer>",
    "<think>t</think><answer>10 < x < 14</answer>",
    "<think>t</think><answer>\\boxed{\\boxed{12}</answer>",
    "<think>t</think><answer>9^{9^{9^{9}}}</answer>",
    "<think>t</think><answer>{'bbox_2d': [1e308, -1e308, 1e308, 1e308]}</answer>",
];

/// Randomness of one text.
struct Draw {
    seed: Seed,
    drawn: u64,
}

impl Draw {
    /// Below `n`, which is at least 1.
    fn below(&mut self, n: usize) -> usize {
        self.drawn += 1;
        ((self.seed.at(self.drawn).uniform() * n as f64) as usize).min(n - 1)
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }
}

/// Text number `n` of a seed; `more` are further texts to start from.
pub(crate) fn text(seed: Seed, n: u64, more: &[&str]) -> String {
    let mut draw = Draw { seed: seed.at(n), drawn: 0 };
    let mut text = match draw.below(4) {
        0 => draw.of(&TRICKS).to_owned(),
        1 if !more.is_empty() => draw.of(more).to_owned(),
        2 => (0..draw.below(30)).map(|_| draw.of(&PIECES)).collect(),
        _ => {
            format!("<think>t</think><answer>{}</answer>", if more.is_empty() { "12" } else { draw.of(more) })
        }
    };
    for _ in 0..draw.below(6) {
        mutate(&mut text, &mut draw);
    }
    clip(&mut text);
    text
}

fn mutate(text: &mut String, draw: &mut Draw) {
    let at = place(text, draw);
    match draw.below(9) {
        0 | 1 => text.insert_str(at, draw.of(&PIECES)),
        2 => text.truncate(at),
        3 => drop(text.drain(..at)),
        4 => {
            let to = place(text, draw);
            drop(text.drain(at.min(to)..at.max(to)));
        }
        // A piece again and again: rarely very often.
        5 => {
            let piece = draw.of(&PIECES);
            let times = if draw.below(20) == 0 { LONGEST / piece.len() } else { draw.below(40) };
            text.insert_str(at, &piece.repeat(times));
        }
        // The text inside itself, and brackets around.
        6 => {
            let copy = text.clone();
            text.insert_str(at, &copy);
        }
        7 => {
            let (open, close) = [
                ("(", ")"),
                ("\\frac{1}{", "}"),
                ("\\sqrt{", "}"),
                ("{", "}"),
                ("|", "|"),
                ("\\sin(", ")"),
                ("(1\\pm ", ")"),
                ("1\\frac{", "}{2}"),
                ("", "!"),
                ("", "^2"),
            ][draw.below(10)];
            let times = 1 + draw.below(50);
            *text = format!("{}{text}{}", open.repeat(times), close.repeat(times));
        }
        _ => {
            let digit = char::from(b'0' + draw.below(10) as u8);
            *text = text.chars().map(|c| if c.is_ascii_digit() { digit } else { c }).collect();
        }
    }
    clip(text);
}

/// A border between two characters.
fn place(text: &str, draw: &mut Draw) -> usize {
    let mut at = draw.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn clip(text: &mut String) {
    let mut end = LONGEST.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}
