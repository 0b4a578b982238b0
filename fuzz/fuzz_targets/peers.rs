//! Any text as a completion: see `crates/reward/tests/entry/mod.rs`.
#![no_main]
#![allow(dead_code, reason = "each target uses one of the entries")]

#[path = "../../crates/reward/tests/entry/mod.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|text: &str| entry::peers(text));
