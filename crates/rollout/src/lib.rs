//! Generation: the answers of a policy to a batch of samples, G for each.
//!
//! A prompt is paid once per group. It is prefilled once, with the same packed forward that training runs; its keys and
//! values are kept once; and the G completions attend to them beside their own. Completions that have ended leave the
//! batch. Random numbers belong to places (sample, completion, token), so neither the order of a batch nor what else is
//! in it changes what is drawn.
//!
//! [`ServingEngine`] answers requests that come while others are answered, each with sampling of its own.
//!
//! [`ExactEngine`] gives up speed so that a trainer can repeat its steps to the last bit.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//! use reft_core::{RolloutEngine, Sample, SamplingParams};
//! use reft_rollout::GenerationEngine;
//! use reft_vlm::{Vlm, VlmOptions};
//!
//! # fn samples() -> Vec<Arc<Sample>> { Vec::new() }
//! let model = Vlm::open(Path::new("fixtures/pico-vlm"), VlmOptions::default())?;
//! let mut engine = GenerationEngine::default();
//! let groups = engine.generate(&model, &samples(), &SamplingParams::greedy(64), &mut |_, _| true)?;
//! for group in groups {
//!     println!("{}: {}", group.sample.id, group.completions[0].text);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod cache;
mod engine;
mod error;
mod exact;
mod finish;
mod open;
mod replay;
mod sampler;
mod serving;

pub use cache::decode_kernels_missing;
pub use engine::GenerationEngine;
pub use error::RolloutError;
pub use exact::ExactEngine;
pub use replay::{Replay, replay};
pub use sampler::{Drawn, Sampler, Waiting};
pub use serving::{Event, Load, Request, Room, ServingEngine, Source};
