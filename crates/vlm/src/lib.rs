//! Vision-language models on libtorch: network, weights, preprocessing.
//!
//! [`Vlm`] is the policy of curr-reft: it opens a Hugging Face folder, encodes messages, runs packed groups of prompts
//! and completions, and writes a Hugging Face folder back.
//! The network keeps no cache and knows no tokenizer, so rollout, training and KL reference share one forward.
//!
//! ```no_run
//! use std::path::Path;
//! use reft_vlm::{Vlm, VlmOptions};
//!
//! let model = Vlm::open(Path::new("fixtures/pico-vlm"), VlmOptions::default())?;
//! println!("{} parameters", model.params().numel());
//! # Ok::<(), reft_vlm::VlmError>(())
//! ```

pub mod checkpoint;
pub mod cuda;
mod error;
mod footprint;
mod init;
pub mod lora;
pub mod model;
mod policy;
pub mod processor;
mod self_test;
mod summary;

pub use error::VlmError;
pub use footprint::Footprint;
pub use policy::{FrozenNetwork, Vlm, VlmOptions};
pub use self_test::self_test;
pub use summary::{CheckpointSummary, HeadKind, Need, PartSizes};
