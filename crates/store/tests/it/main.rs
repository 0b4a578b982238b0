//! Run directories as a user meets them: whole, in use, torn, on a full disk.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod checkpoints;
mod disk_full;
mod ownership;
mod records;
mod support;
