//! Rejection sampling: N answers per question, judged 0 to 100, the best above a threshold kept for supervised
//! fine-tuning (Curr-ReFT, arXiv 2503.07065, part 2).
//!
//! [`RuleJudge`] gives the points, or another model does ([`ServerJudge`]); [`BestOf`] keeps the best, [`demonstrations`] makes the SFT set, [`Report`] says what
//! was asked and kept. [`stored`] does the same for completions in a file.
//!
//! ```
//! use reft_core::{Completion, Group, JudgedGroup, Judgement, Selector, Verdict};
//! use reft_reject::BestOf;
//! use reft_testkit::sums;
//!
//! let judged = JudgedGroup {
//!     group: Group {
//!         sample: sums(1).remove(0),
//!         prompt_tokens: 0,
//!         completions: ["wrong", "right"].map(Completion::from_text).into(),
//!         policy_version: None,
//!         temperature: None,
//!     },
//!     judgements: [20.0, 100.0].map(|score| Judgement { score, reason: String::new() }).into(),
//! };
//! let verdicts = BestOf { threshold: 85.0, keep: 1 }.select(&judged);
//! assert_eq!(verdicts[1], Verdict::Admit);
//! ```

mod consistency;
mod demonstrations;
mod error;
mod fluency;
mod judge;
mod report;
mod select;
mod server;
pub mod stored;

pub use demonstrations::{demonstrations, from_kept};
pub use error::RejectError;
pub use judge::RuleJudge;
pub use report::{Report, Tally};
pub use select::BestOf;
pub use server::ServerJudge;
