//! The run directory: the only crate that writes one.
//!
//! [`RunDir`] owns a run directory (a lock refuses a second process) and implements [`RunStore`](reft_core::RunStore):
//! metrics, events, completions, predictions, checkpoints. [`RunReader`] looks at one without owning it.
//! `docs/RUN_DIRECTORY.md` describes every file and what a user may rely on.
//!
//! How it survives a kill at any instant: a file that matters is written beside its place, synced and renamed; a
//! checkpoint is a folder written the same way, with the hash of every file in a manifest; files that grow (`metrics.jsonl`)
//! are cut back to the length that the checkpoint noted. So what a resume finds is always a state that once was whole.
//!
//! ```
//! use reft_core::{Cursor, Metrics, Recorder as _, RunStore as _};
//! use reft_store::{RunDir, RunInfo, RunReader};
//! use reft_testkit::TablePolicy;
//!
//! let root = tempfile::tempdir()?;
//! let root = root.path().join("demo");
//! let mut run = RunDir::create(&root, &RunInfo::new("demo", ["binary"]), "# the resolved recipe")?;
//! let mut metrics = Metrics::new();
//! metrics.set("reward/mean", 0.5);
//! run.step("binary", 1, &metrics)?;
//! let policy = TablePolicy::new();
//! run.checkpoint(Cursor { phase: 0, step: 1, global_step: 1 }, &[("policy", &policy)], &().into())?;
//!
//! assert_eq!(RunReader::open(&root)?.metrics()?[0].metrics.get("reward/mean"), Some(0.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batches;
mod checkpoint;
mod clock;
mod disk;
mod error;
mod info;
mod inputs;
mod layout;
mod lock;
mod manifest;
mod rank_log;
mod read;
mod records;
mod rewind;
mod run_dir;
mod table;

pub use batches::KeptBatch;
pub use disk::write_whole;
pub use error::StoreError;
pub use info::RunInfo;
pub use inputs::{ImageFiles, Input};
pub use rank_log::RankLog;
pub use read::{BenchmarkReport, MetricRow, PhaseSummary, RunReader, Summary, ValidationPoint};
pub use run_dir::{RunDir, note_panic};
pub use table::read_rows;
