//! Samples to train and evaluate on: from files, or composed from labelled images; in the forms of the curriculum; with
//! the prompt that the model gets.
//!
//! [`Dataset::load`] is the way in. It reads the rows of a file ([`rows`], any of the formats of docs/DATA.md) or makes
//! [`scene`]s, assembles the [`prompt`], and converts the open samples to yes/no questions and multiple choice
//! ([`forms`]). [`mod@write`] puts samples and demonstrations into files that load again.
//!
//! Images stay encoded: a data set opens with their headers alone, and whoever needs pixels decodes them.
//!
//! ```
//! use reft_config::{DataConfig, PromptConfig};
//! use reft_core::{Form, Seed};
//! use reft_data::Dataset;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("rows.jsonl");
//! # let rows = r#"{"problem": "What is 1 + 1?", "solution": "2"}
//! #     {"problem": "What is 2 + 3?", "solution": "5"}"#;
//! # std::fs::write(&path, rows)?;
//! let config: DataConfig =
//!     serde_json::from_value(serde_json::json!({"type": "file", "path": path, "task": "math"}))?;
//! let data = Dataset::load(&config, &PromptConfig::default(), &[Form::Binary], Seed::new(0))?;
//! assert_eq!(data.samples.len(), 2);
//! assert!(data.samples[0].problem.starts_with("What is 1 + 1? Is it "));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dataset;
mod error;
mod formats;
pub mod forms;
mod image_columns;
mod images;
mod pictures;
pub mod prompt;
mod report;
pub mod rows;
pub mod scene;
mod stored;
pub mod write;

pub use dataset::{Dataset, OpenData, Source};
pub use error::{DataError, ImageProblem, Location};
pub use images::{digest, grey, in_memory};
pub use pictures::{Pictured, pictured};
pub use report::{Contents, Counted, Overlap, Report, Tokens};
