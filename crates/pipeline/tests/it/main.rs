//! The loops on a toy policy and a real run directory.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod ahead;
mod cut;
mod failures;
mod guard;
mod interrupt;
mod kill;
mod learning;
mod preflight;
mod ranks;
mod refill;
mod toy;
mod validation;
