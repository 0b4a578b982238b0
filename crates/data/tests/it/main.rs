//! Tests of the data crate through its public face.
//!
//! - `blind`: tries to answer converted questions without the image
//! - `forms`: invariants of the conversion, whatever the data
//! - `formats`: one row of every format, fixtures, round trips
//! - `bad_input`: what is said about data that cannot be used
//! - `spellings`: rows as other programs write them
//! - `scenes`: scenes, their answers and demonstrations
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may fail as tests do")]

mod bad_input;
mod blind;
mod formats;
mod forms;
mod mixtures;
mod report;
mod scenes;
mod spellings;
mod streaming;
mod support;
