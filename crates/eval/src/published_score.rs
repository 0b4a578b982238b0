//! What a published benchmark says of itself in a report.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Grader, Harness, KeyScore, Table};

/// What is said of a published benchmark beside accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedScore {
    /// Whose verdicts they are.
    pub grader: Grader,
    /// Whose prompt it was.
    pub prompt: Harness,
    /// Smallest and largest area in pixels that the model saw of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<(u64, u64)>,
    /// What stood behind every prompt.
    #[serde(default)]
    pub suffix: String,
    /// Whether the content of answer tags was graded.
    pub strip_tags: bool,
    /// Where the rules come from.
    pub source: String,
    /// The table of the benchmark's own reports, of first answers.
    pub table: Table,
    /// First answers by every value of the benchmark's keys: subject, level, skill.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_key: Vec<KeyScore>,
    /// Share of answers that the grader reached no verdict on. They count as wrong, but for graders that guess.
    pub unresolved: f64,
    /// Answers by how their mark came about.
    pub reasons: BTreeMap<String, usize>,
    /// Share of answers that the length limit cut.
    pub cut: f64,
    /// Mean score of the answers that were not cut.
    pub complete_accuracy: f64,
    /// The scores of these questions asked with grey pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<Blind>,
    /// What the judge was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeUse>,
    /// What to beware of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a judge was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgeUse {
    /// Its model.
    pub model: String,
    /// Prompts that it answered.
    pub asked: u64,
    /// Prompts that were answered from disk.
    pub cached: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of replies.
    pub reply_tokens: u64,
    /// What they cost, by the stated prices.
    pub cost: f64,
}

/// What a model scores without seeing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blind {
    /// Accuracy with grey pictures of the same sizes.
    pub accuracy: f64,
    /// How much the pictures add.
    pub gap: f64,
}

impl fmt::Display for PublishedScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags = if self.strip_tags { ", tags taken off" } else { "" };
        write!(f, "grader {}, prompt {}{tags}", self.grader, self.prompt.as_str())?;
        if let Some((least, most)) = self.pixels {
            write!(f, ", pictures of {least} to {most} pixels")?;
        }
        writeln!(f)?;
        write!(f, "{}", self.table)?;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        writeln!(
            f,
            "no verdict {}, cut {}, accuracy of complete answers {}",
            percent(self.unresolved),
            percent(self.cut),
            percent(self.complete_accuracy)
        )?;
        let failed = self.reasons.iter().filter(|(name, _)| !["read", "judged"].contains(&name.as_str()));
        let failed: Vec<String> = failed.map(|(name, n)| format!("{name} {n}")).collect();
        if !failed.is_empty() {
            writeln!(f, "without a verdict: {}", failed.join(", "))?;
        }
        if let Some(judge) = &self.judge {
            writeln!(
                f,
                "judge {}: {} prompts, {} from disk, {} and {} tokens, cost {:.4}",
                judge.model, judge.asked, judge.cached, judge.prompt_tokens, judge.reply_tokens, judge.cost
            )?;
        }
        if let Some(blind) = self.blind {
            writeln!(f, "with grey pictures {}, gap {}", percent(blind.accuracy), percent(blind.gap))?;
        }
        if let Some(note) = &self.note {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}
