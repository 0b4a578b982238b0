//! Any two texts, separated by the first line end, as mathematics: see `crates/reward/tests/entry/mod.rs`.
#![no_main]
#![allow(dead_code, reason = "each target uses one of the entries")]

#[path = "../../crates/reward/tests/entry/mod.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (gold, answer) = text.split_once('\n').unwrap_or(("12", text));
    entry::mathematics(gold, answer);
});
