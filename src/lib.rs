//! Curriculum reinforcement finetuning of vision-language models: the whole method through one crate.
//!
//! Curr-ReFT (Deng et al. 2025, arXiv 2503.07065) post-trains a small VLM in two parts. *Curriculum RL* is GRPO over
//! three stages of rising difficulty, yes/no, multiple choice and open questions; each stage starts from the weights of
//! the one before, which are also its KL reference. *Rejection-sampled self-improvement* samples several answers per
//! question, judges them, and fine-tunes on the best.
//!
//! A recipe (TOML) names a checkpoint, data sets and phases. [`train::start`] runs it:
//!
//! ```no_run
//! use std::path::Path;
//! use curr_reft::{config::Resolved, train};
//!
//! let recipe = Resolved::read(&["configs/smoke.toml".into()], &["run.name=first".into()])?.recipe;
//! let outcome = train::start(&recipe, Path::new("runs"), &mut ())?;
//! println!("{outcome:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The stages are traits of [`core`]; [`phases::RecipePhases`] turns a recipe into stages and lets a closure replace any
//! of them. The other modules are the functions behind the commands of `reft`. Everything below is re-exported, so one
//! dependency is enough: [`core`], [`config`], [`data`], [`reward`], [`curriculum`], [`rejection`], [`eval`], [`store`],
//! [`pipeline`] without libtorch; [`vlm`], [`rollout`], [`trainer`], [`grpo`] on it.
//!
//! Features, all on unless `default-features = false`: `hub` (names of the Hugging Face hub as paths), `serve` (module `serve`: a web server), `tls` (judges, rewards and
//! engines behind `https://`), `trackio` (that tracker: SQLite). Without them nothing is compiled that training does not need.

pub mod audit;
pub mod benchmarks;
pub mod branch;
mod chats;
pub mod compare;
pub mod difficulty;
pub mod doctor;
mod error;
pub mod evaluate;
pub mod examples;
pub mod gains;
pub mod generate;
pub mod grade;
pub mod hub;
pub mod images;
pub mod init;
pub mod inspect;
pub mod model;
mod open;
mod partial;
pub mod phases;
#[cfg(feature = "hub")]
pub mod push;
mod ranks;
pub mod reject;
mod relative;
pub mod replay;
pub mod report;
pub mod score;
#[cfg(feature = "serve")]
pub mod serve;
mod servers;
mod settings;
mod space;
pub mod step;
pub mod table;
mod track;
pub mod train;

pub use error::Error;

pub use reft_config as config;
pub use reft_core as core;
pub use reft_curriculum as curriculum;
pub use reft_data as data;
pub use reft_dist as dist;
pub use reft_eval as eval;
pub use reft_fleet as fleet;
pub use reft_grpo as grpo;
pub use reft_math as math;
pub use reft_peer_rewards as peer_rewards;
pub use reft_pipeline as pipeline;
pub use reft_reject as rejection;
pub use reft_reward as reward;
pub use reft_rollout as rollout;
pub use reft_store as store;
pub use reft_train as trainer;
pub use reft_vlm as vlm;
