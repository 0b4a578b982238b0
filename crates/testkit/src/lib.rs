//! A toy policy that really learns, toy stages around it, and fixture builders: the whole method without libtorch.
//!
//! [`TablePolicy`] is a softmax over a few answer strings per question. [`ToyEngine`] samples from it, [`ToyGrpo`] and
//! [`ToySft`] move it, with moments and a KL reference that a checkpoint must keep. A run over all phase kinds takes
//! about a second, so every property of the loops (learning, resume after a kill, records on disk) is tested with it.
//! [`Student`] is simpler still: a skill per task, for simulations of curricula.
//!
//! ```
//! use reft_core::{RolloutEngine as _, SamplingParams};
//! use reft_testkit::{TablePolicy, ToyEngine, sums};
//!
//! let samples = sums(3);
//! let groups = ToyEngine.generate(&TablePolicy::new(), &samples, &SamplingParams::greedy(8), &mut |_, _| true)?;
//! assert_eq!(groups.len(), 3);
//! # Ok::<(), reft_core::StageError>(())
//! ```

mod engine;
mod fixture;
mod learn;
mod peers;
mod png;
mod policy;
mod stages;
mod student;

pub use engine::{ScriptedEngine, ToyEngine};
pub use fixture::{as_binary, as_choice, chat, demonstration, sums, with_image};
pub use learn::{ToyGrpo, ToySft};
pub use peers::ThreadPeers;
pub use policy::TablePolicy;
pub use stages::{
    AboveMean, AskAgain, BestAbove, RightJudge, RoundRobin, SkipEqual, ToyBenchmark, ToyReward, answer_of,
};
pub use student::{Student, exercise};
