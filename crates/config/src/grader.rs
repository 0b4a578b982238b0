//! Names of graders, and whose prompt a benchmark is asked in.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A grader: whose program the verdicts agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grader {
    /// This project's: reads tags, boxes and plain answers, never guesses, asks no judge.
    Ours,
    /// The benchmark's authors.
    Authors,
    /// The authors' with `--quick_extract`.
    AuthorsQuick,
    /// VLMEvalKit.
    #[serde(rename = "vlmeval")]
    VlmEval,
    /// lmms-eval.
    #[serde(rename = "lmms_eval", alias = "lmms")]
    Lmms,
    /// lmms-eval's rule-based grader of reasoning tasks.
    #[serde(rename = "lmms_reasoning", alias = "reasoning")]
    Reasoning,
    /// MathVerse's `--quick_match`: the answer is the output, letter by letter.
    QuickMatch,
    /// lmms-eval without a judge, MMBench.
    LmmsStatic,
    /// lmms-eval, RefCOCO: fractions in brackets.
    LmmsRec,
    /// lmms-eval, RefCOCO: the best of all boxes.
    LmmsGrounding,
    /// R1-V.
    #[serde(rename = "r1v")]
    R1V,
    /// The Curr-ReFT evaluation script.
    CurrReft,
    /// VLMEvalKit, CountBenchQA: the number occurs in the output.
    Contains,
    /// lmms-eval, CountBenchQA: the output is the number.
    Equal,
    /// math-verify on the whole output.
    MathVerify,
    /// math-verify with its arguments in the package's order.
    GoldFirst,
    /// mathruler, as EasyR1 grades.
    #[serde(rename = "mathruler")]
    MathRuler,
    /// InternVL: `yes` anywhere is yes.
    Intern,
    /// We-Math's rule on its template.
    Rule,
}

impl Grader {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Ours,
        Self::Authors,
        Self::AuthorsQuick,
        Self::VlmEval,
        Self::Lmms,
        Self::Reasoning,
        Self::QuickMatch,
        Self::LmmsStatic,
        Self::LmmsRec,
        Self::LmmsGrounding,
        Self::R1V,
        Self::CurrReft,
        Self::Contains,
        Self::Equal,
        Self::MathVerify,
        Self::GoldFirst,
        Self::MathRuler,
        Self::Intern,
        Self::Rule,
    ];

    /// The name on the command line, in recipes and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Authors => "authors",
            Self::AuthorsQuick => "authors_quick",
            Self::VlmEval => "vlmeval",
            Self::Lmms => "lmms_eval",
            Self::Reasoning => "lmms_reasoning",
            Self::QuickMatch => "quick_match",
            Self::LmmsStatic => "lmms_static",
            Self::LmmsRec => "lmms_rec",
            Self::LmmsGrounding => "lmms_grounding",
            Self::R1V => "r1v",
            Self::CurrReft => "curr_reft",
            Self::Contains => "contains",
            Self::Equal => "equal",
            Self::MathVerify => "math_verify",
            Self::GoldFirst => "gold_first",
            Self::MathRuler => "mathruler",
            Self::Intern => "intern",
            Self::Rule => "rule",
        }
    }
}

impl fmt::Display for Grader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no grader has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no grader `{0}`; graders are `ours`, `authors`, `vlmeval`, `lmms` and others of docs/BENCHMARKS_VLM.md"
)]
pub struct UnknownGrader(String);

impl FromStr for Grader {
    type Err = UnknownGrader;

    fn from_str(name: &str) -> Result<Self, UnknownGrader> {
        let plain = name.to_lowercase().replace('-', "_");
        let known = match plain.as_str() {
            "lmms" => Some(Self::Lmms),
            "reasoning" => Some(Self::Reasoning),
            "vlmevalkit" => Some(Self::VlmEval),
            plain => Self::ALL.into_iter().find(|grader| grader.as_str() == plain),
        };
        known.ok_or_else(|| UnknownGrader(name.to_owned()))
    }
}

/// Whose prompt a question is put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Harness {
    /// VLMEvalKit's.
    #[default]
    #[serde(rename = "vlmeval")]
    VlmEval,
    /// lmms-eval's.
    #[serde(rename = "lmms_eval", alias = "lmms")]
    Lmms,
    /// The authors'.
    Authors,
    /// The recipe's: the bare question with its options, in the words of `[prompt]`.
    Recipe,
}

impl Harness {
    /// The name on the command line, in recipes and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VlmEval => "vlmeval",
            Self::Lmms => "lmms_eval",
            Self::Authors => "authors",
            Self::Recipe => "recipe",
        }
    }
}
