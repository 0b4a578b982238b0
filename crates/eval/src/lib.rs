//! Benchmarks: how questions are graded, and what is said about the grades.
//!
//! [`TaskBenchmark`] grades detection, classification, mathematics and short answers in any form by the rewards of
//! crate `reward`: an answer is right or wrong, nothing between. Its [`EvalReport`] has accuracy with a 95 % interval,
//! per task and form, pass@k where a question was answered several times, and for short answers the blind
//! [`Baselines`]. [`Paired`] compares two sets of predictions, [`predictions`] lists every one of them.
//!
//! ```
//! use reft_config::RewardConfig;
//! use reft_core::{Benchmark, Completion};
//! use reft_eval::{Missing, TaskBenchmark, grade_texts};
//! use reft_testkit::sums;
//!
//! let samples = sums(2);
//! let texts: Vec<_> = samples
//!     .iter()
//!     .map(|sample| (sample.id.clone(), format!("<think>t</think><answer>{}</answer>", sample.solution)))
//!     .collect();
//! let benchmark = TaskBenchmark::new("sums", samples, &RewardConfig::default(), None)?;
//! let graded = grade_texts(&benchmark, &texts, Missing::Refuse)?;
//! assert_eq!(benchmark.evaluate(&graded)?.overall.accuracy, 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod baselines;
mod benchmark;
pub mod benchmarks;
mod compare;
mod error;
mod item;
mod judging;
mod ours;
mod published;
mod published_score;
mod reading;
mod record;
mod report;
mod stats;
mod stored;
mod table;
mod vote;

pub use baselines::{Baselines, Majority};
pub use benchmark::TaskBenchmark;
pub use benchmarks::{Published, UnknownBenchmark, last_words, lmms_option, score_extraction};
pub use compare::{Paired, compare};
pub use error::EvalError;
pub use item::{AnswerKind, Item};
pub use judging::{Asked, JudgeModel};
pub use published::{PublishedBenchmark, PublishedOptions};
pub use published_score::{Blind, JudgeUse, PublishedScore};
pub use reading::reasoning::format as reasoning_format;
pub use record::{Prediction, predictions, prompt_hash};
pub use reft_config::{Grader, Harness, UnknownGrader};
pub use reft_core::{Mark, Reason};
pub use report::{EvalReport, Score, ScoreRow, summary_table};
pub use stats::{Interval, pass_at_k, wilson};
pub use stored::{Missing, grade_texts};
pub use table::{KeyScore, Marked, Table, TableRow};
pub use vote::majority;
