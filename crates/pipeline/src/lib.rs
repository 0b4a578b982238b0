//! The loops of curr-reft: RL step, rejection sampling, SFT, evaluation, and the phases of a run.
//!
//! A [`Run`] walks phases in order. Each phase is a struct of stages ([`RlStages`], [`SftStages`], [`RejectStages`],
//! [`EvalStages`]) that a [`PhaseBuilder`] makes when its turn comes; the loop over them is a page in the file of the
//! same name. The policy `P` is the only type parameter, and all this crate knows of it is that it can be saved.
//!
//! What the loops promise:
//! - **A resumed run is the uninterrupted run.** All state is in the checkpoint, all randomness is derived from the
//!   step, and phases that only read the policy keep each chunk of answers. A kill at any instant costs
//!   time, never a different number.
//! - **Nothing is printed.** An [`Observer`] sees the progress and can ask to stop.
//! - **Nothing is trained on in silence.** Every answer goes to the store with its rewards, its advantage and the verdict
//!   on its group; a step without learning signal is an event; a loss that is not a number is never trained on, its batch
//!   is kept for a replay, and several in a row stop the run. A [`Preflight`] refuses to start where the reward pays
//!   everybody or nobody, or where no group would teach; a [`Guard`] stops a phase that has learnt nothing for many steps.
//!
//! This crate knows no tensor, no file format and no other stage crate: it works against the traits of `reft_core`.
//!
//! ```
//! use reft_core::{Alone, CutAnswers, SamplingParams, Seed};
//! use reft_pipeline::{Outcome, Phase, RlStages, Run, Stages};
//! use reft_store::{RunDir, RunInfo, RunReader};
//! use reft_testkit::{AboveMean, RoundRobin, TablePolicy, ToyEngine, ToyGrpo, ToyReward, sums};
//!
//! let rl = Phase::new("open", |_: &mut TablePolicy, _| {
//!     Ok(Stages::Rl(RlStages {
//!         steps: 30,
//!         prompts_per_step: 4,
//!         sampling: SamplingParams { group_size: 8, temperature: 1.0, ..SamplingParams::greedy(8) },
//!         curriculum: Box::new(RoundRobin::new(sums(6))),
//!         rollout: Box::new(ToyEngine),
//!         reward: Box::new(ToyReward),
//!         pay_zero: false,
//!         cut_answers: CutAnswers::Learn,
//!         advantage: std::sync::Arc::new(AboveMean),
//!         filters: Vec::new(),
//!         refill: None,
//!         preflight: None,
//!         guard: None,
//!         optimizer: Box::new(ToyGrpo::new(2.0, 0.01)),
//!         max_skipped: 3,
//!         validation: None,
//!     }))
//! });
//! let dir = tempfile::tempdir()?;
//! let root = dir.path().join("run");
//! let mut store = RunDir::create(&root, &RunInfo::new("demo", ["open"]), "")?;
//! let run = Run {
//!     seed: Seed::new(0),
//!     checkpoint_every: 10,
//!     phases: &mut vec![rl],
//!     store: &mut store,
//!     observer: &mut (),
//!     peers: &Alone,
//! };
//! assert_eq!(run.run(&mut TablePolicy::new())?, Outcome::Finished { global_step: 30 });
//!
//! let rewards: Vec<_> = RunReader::open(&root)?.metrics()?.iter().filter_map(|row| row.metrics.get("reward/mean")).collect();
//! assert!(rewards[29] > rewards[0] + 0.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ahead;
mod chunk;
mod context;
mod error;
mod eval;
mod fill;
mod guard;
mod metrics;
mod observer;
mod parallel;
mod phase;
mod preflight;
mod reject;
mod rl;
mod run;
mod sft;
mod share;
mod shared_store;
mod skip;
mod stopwatch;
mod validation;

pub use error::RunError;
pub use eval::evaluate;
pub use guard::{Guard, GuardError};
pub use observer::{Observer, PhaseInfo, PhasePlan, StepReport};
pub use phase::{BuildStages, EvalStages, Phase, PhaseBuilder, RejectStages, RlStages, SftStages, Stages};
pub use preflight::{Miss, Preflight, PreflightError, SelfTest, self_test};
pub use run::{Outcome, Run};
pub use share::{from_first, tell};
pub use shared_store::SharedStore;
pub use validation::Validation;
