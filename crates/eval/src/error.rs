//! What grading and comparing may fail with.

use reft_core::StageError;

/// Benchmarks and predictions that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A benchmark without questions.
    #[error("benchmark `{benchmark}` has no questions; check its data set's path, `split` and `limit`")]
    Empty {
        /// Which benchmark.
        benchmark: String,
    },
    /// A prediction for a question that the benchmark does not have.
    #[error("benchmark `{benchmark}` has no question `{sample}`; the predictions belong to other data")]
    UnknownQuestion {
        /// Which benchmark.
        benchmark: String,
        /// The question's id.
        sample: String,
    },
    /// Questions without a prediction. Leaving them out would change the score, so nothing is graded.
    #[error(
        "benchmark `{benchmark}`: {missing} questions have no prediction, the first is `{first}`; answer all of them"
    )]
    Unanswered {
        /// Which benchmark.
        benchmark: String,
        /// How many.
        missing: usize,
        /// The first one's id.
        first: String,
    },
    /// A grader that a benchmark does not have.
    #[error("`{benchmark}` has no grader `{grader}`; it has `{known}`")]
    UnknownGrader {
        /// Which benchmark.
        benchmark: String,
        /// Which grader.
        grader: String,
        /// Those it has.
        known: String,
    },
    /// A grader that says nothing without a judge.
    #[error(
        "grader `{grader}` of `{benchmark}` says nothing without a judge; name one (`--judge URL --judge-model NAME`){others}"
    )]
    NeedsJudge {
        /// Which benchmark.
        benchmark: String,
        /// Which grader.
        grader: String,
        /// What else could be done, in words.
        others: String,
    },
    /// Two sets of predictions over different questions.
    #[error(
        "the two sets of predictions differ in question {number}: `{left}` and `{right}`; compare the same benchmark"
    )]
    DifferentQuestions {
        /// Counted from 1.
        number: usize,
        /// The id in the first set, or `nothing`.
        left: String,
        /// The id in the second set, or `nothing`.
        right: String,
    },
}

impl From<EvalError> for StageError {
    fn from(error: EvalError) -> Self {
        Self::other("evaluation", error)
    }
}
