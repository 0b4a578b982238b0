//! The benchmarks of the field, a file each.
//!
//! A newcomer is one file with a `Rules` and one entry in [`Published`]: how a row of its files becomes an [`Item`], how
//! it is asked, how each published grader marks an answer, and the table that its reports print.

mod ai2d;
mod chartqa;
mod choice;
mod counting;
mod dynamath;
mod geometry;
mod hallusionbench;
mod logicvista;
mod mathverse;
mod mathvision;
mod mathvista;
mod mmbench;
mod mmmu;
mod mmstar;
mod mmvet;
mod ocrbench;
mod pope;
mod realworldqa;
mod refcoco;
mod scienceqa;
mod wemath;

use std::{fmt, str::FromStr};

use reft_core::StageError;
use serde_json::{Map, Value};

use crate::{Asked, Grader, Harness, Item, KeyScore, Mark, Marked, Reason, Table, ours, table};

pub use mathverse::{last_words, score_extraction};
pub use mmbench::lmms_option;

/// How a benchmark is read, asked, graded and summed up.
pub(crate) trait Rules: Send + Sync {
    /// Where the rules come from.
    fn source(&self) -> &'static str;

    /// Graders beside [`Grader::Ours`], the one whose scores are usually quoted first.
    fn graders(&self) -> &'static [Grader];

    /// A question from a row of any of the published layouts.
    fn item(&self, row: &Map<String, Value>) -> Result<Item, String>;

    /// The text of the prompt; `<image 1>` and so on stand where images come that are not in front.
    fn prompt(&self, item: &Item, harness: Harness) -> String {
        choice::prompt(item, harness)
    }

    /// The mark of an answer by one of [`Rules::graders`].
    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError>;

    /// The table of the benchmark's reports.
    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        table::accuracy(marked, &["category", "l2-category"])
    }

    /// Keys of its questions by which reports tell scores apart: entries of the metadata, or columns.
    fn keys(&self) -> &'static [&'static str] {
        &["category", "l2-category"]
    }

    /// The values that a question has of one of [`Rules::keys`].
    fn values(&self, item: &Item, key: &str) -> Vec<String> {
        item.values(key)
    }

    /// Whether a grader says nothing without a judge.
    fn needs_judge(&self, _grader: Grader) -> bool {
        false
    }
}

/// A benchmark of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Published {
    /// AI2D (arXiv 1603.07396).
    Ai2d,
    /// ChartQA (arXiv 2203.10244).
    ChartQa,
    /// Counting in CLEVR and SuperCLEVR, as R1-V has it.
    Counting,
    /// DynaMath (arXiv 2411.00836).
    DynaMath,
    /// GeoQA (arXiv 2105.14517) and Geometry3K (arXiv 2105.04165).
    Geometry,
    /// HallusionBench (arXiv 2310.14566).
    HallusionBench,
    /// LogicVista (arXiv 2407.04973).
    LogicVista,
    /// MathVerse (arXiv 2403.14624).
    MathVerse,
    /// MATH-Vision (arXiv 2402.14804).
    MathVision,
    /// MathVista (arXiv 2310.02255).
    MathVista,
    /// MMBench (arXiv 2307.06281).
    MmBench,
    /// MMMU (arXiv 2311.16502).
    Mmmu,
    /// MMStar (arXiv 2403.20330).
    MmStar,
    /// MM-Vet (arXiv 2308.02490).
    MmVet,
    /// OCRBench (arXiv 2305.07895).
    OcrBench,
    /// POPE (arXiv 2305.10355).
    Pope,
    /// RealWorldQA.
    RealWorldQa,
    /// RefCOCO, RefCOCO+ and RefCOCOg (arXiv 1608.00272).
    RefCoco,
    /// ScienceQA (arXiv 2209.09513), questions with a picture.
    ScienceQa,
    /// We-Math (arXiv 2407.01284).
    WeMath,
}

impl Published {
    /// All of them, by name.
    pub const ALL: [Self; 20] = [
        Self::Ai2d,
        Self::ChartQa,
        Self::Counting,
        Self::DynaMath,
        Self::Geometry,
        Self::HallusionBench,
        Self::LogicVista,
        Self::MathVerse,
        Self::MathVision,
        Self::MathVista,
        Self::MmBench,
        Self::Mmmu,
        Self::MmStar,
        Self::MmVet,
        Self::OcrBench,
        Self::Pope,
        Self::RealWorldQa,
        Self::RefCoco,
        Self::ScienceQa,
        Self::WeMath,
    ];

    /// The name on the command line, in recipes and reports.
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// Its name and other names that it goes by, in lower case without marks.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Ai2d => &["ai2d", "ai2dtest", "ai2dtestnomask"],
            Self::ChartQa => &["chartqa", "chartqatest"],
            Self::Counting => {
                &["counting", "superclevr", "clevr", "superclevr200", "clevrcount", "countbenchqa"]
            }
            Self::DynaMath => &["dynamath", "dynamathsample"],
            Self::Geometry => &["geometry", "geoqa", "geometry3k", "geo3k", "geo170k"],
            Self::HallusionBench => &["hallusionbench", "hallusion"],
            Self::LogicVista => &["logicvista"],
            Self::MathVerse => &["mathverse", "mathversemini", "mathversetestmini"],
            Self::MathVision => &["mathvision", "mathv", "mathvisionmini", "mathvisiontest"],
            Self::MathVista => &["mathvista", "mathvistamini", "mathvistatestmini"],
            Self::MmBench => &["mmbench", "mmbenchdeven", "mmbenchdevenv11", "mmbenchendev"],
            Self::Mmmu => &["mmmu", "mmmuval", "mmmudevval"],
            Self::MmStar => &["mmstar"],
            Self::MmVet => &["mmvet"],
            Self::OcrBench => &["ocrbench"],
            Self::Pope => &["pope"],
            Self::RealWorldQa => &["realworldqa"],
            Self::RefCoco => &["refcoco", "refcocoplus", "refcocog"],
            Self::ScienceQa => &["scienceqa", "scienceqaimg", "scienceqatest"],
            Self::WeMath => &["wemath", "wemathtestmini"],
        }
    }

    fn rules(self) -> &'static dyn Rules {
        match self {
            Self::Ai2d => &ai2d::Ai2d,
            Self::ChartQa => &chartqa::ChartQa,
            Self::Counting => &counting::Counting,
            Self::DynaMath => &dynamath::DynaMath,
            Self::Geometry => &geometry::Geometry,
            Self::HallusionBench => &hallusionbench::HallusionBench,
            Self::LogicVista => &logicvista::LogicVista,
            Self::MathVerse => &mathverse::MathVerse,
            Self::MathVision => &mathvision::MathVision,
            Self::MathVista => &mathvista::MathVista,
            Self::MmBench => &mmbench::MmBench,
            Self::Mmmu => &mmmu::Mmmu,
            Self::MmStar => &mmstar::MmStar,
            Self::MmVet => &mmvet::MmVet,
            Self::OcrBench => &ocrbench::OcrBench,
            Self::Pope => &pope::Pope,
            Self::RealWorldQa => &realworldqa::RealWorldQa,
            Self::RefCoco => &refcoco::RefCoco,
            Self::ScienceQa => &scienceqa::ScienceQa,
            Self::WeMath => &wemath::WeMath,
        }
    }

    /// Where its rules come from.
    pub fn source(self) -> &'static str {
        self.rules().source()
    }

    /// Graders that it has, [`Grader::Ours`] last; the first is the default.
    pub fn graders(self) -> impl Iterator<Item = Grader> {
        self.rules().graders().iter().copied().chain([Grader::Ours])
    }

    /// Whether a grader says nothing without a judge.
    pub(crate) fn needs_judge(self, grader: Grader) -> bool {
        self.rules().needs_judge(grader)
    }

    /// A question from a row of a published file.
    pub fn item(self, row: &Map<String, Value>) -> Result<Item, String> {
        self.rules().item(row)
    }

    /// The text of the prompt. `<image 1>` and so on stand where images come that are not in front.
    pub fn prompt(self, item: &Item, harness: Harness) -> String {
        self.rules().prompt(item, harness)
    }

    /// The mark of an answer.
    pub fn grade(
        self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        if !self.graders().any(|known| known == grader) {
            let known: Vec<&str> = self.graders().map(Grader::as_str).collect();
            let message =
                format!("`{}` has no grader `{grader}`; it has `{}`", self.name(), known.join("`, `"));
            return Err(StageError::other("grader", message));
        }
        let mut mark = match grader {
            Grader::Ours => ours::grade(item, output),
            Grader::Reasoning => {
                let reading = crate::reading::reasoning::grade(output, &item.answer);
                let mark = Mark::read(reading.answer.clone(), reading.right);
                if reading.answer.is_empty() { mark.with(Reason::Unread) } else { mark }
            }
            _ => self.rules().grade(grader, item, output, asked)?,
        };
        mark.replies.extend(asked.take());
        Ok(mark)
    }

    /// Scores by every value of every key of its questions.
    pub fn by_key(self, marked: &[Marked<'_>]) -> Vec<KeyScore> {
        let rules = self.rules();
        table::by_key(marked, rules.keys(), |item, key| rules.values(item, key))
    }

    /// The table of its reports.
    pub fn table(self, grader: Grader, marked: &[Marked<'_>]) -> Table {
        self.rules().table(grader, marked)
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no benchmark has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no benchmark `{name}`; {}", nearest(.name))]
pub struct UnknownBenchmark {
    /// The name that was asked for.
    pub name: String,
}

fn nearest(name: &str) -> String {
    let plain = plain(name);
    let distance = |known: &Published| {
        known.names().iter().map(|name| strsim::levenshtein(name, &plain)).min().unwrap_or(usize::MAX)
    };
    let mut known = Published::ALL.to_vec();
    known.sort_by_key(distance);
    let close: Vec<String> = known.iter().take(3).map(|known| format!("`{known}`")).collect();
    format!(
        "the nearest are {}; `generic` grades rows of any kind by the rewards of training",
        close.join(", ")
    )
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric() || *c == '+')
        .collect::<String>()
        .to_lowercase()
        .replace('+', "plus")
}

impl FromStr for Published {
    type Err = UnknownBenchmark;

    /// Case and marks aside: `MathVista_MINI`, `mathvista` and `math-vista` are the same.
    fn from_str(name: &str) -> Result<Self, UnknownBenchmark> {
        let plain = plain(name);
        let known = Self::ALL.into_iter().find(|known| known.names().contains(&plain.as_str()));
        known.ok_or_else(|| UnknownBenchmark { name: name.to_owned() })
    }
}
