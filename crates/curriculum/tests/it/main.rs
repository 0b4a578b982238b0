//! Curricula, filters and refills: what they draw, what they are for, and that they resume exactly.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod filters;
mod order;
mod resume;
mod simulation;
mod support;
