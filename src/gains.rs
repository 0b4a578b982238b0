//! What a run's stages added: each evaluation beside the one before, question by question.

use std::{collections::BTreeMap, fmt};

use reft_eval::Paired;
use reft_store::RunReader;
use serde::Serialize;

use crate::{Error, examples::first_answers};

/// Chance of a difference that is called chance where it is exceeded.
const CHANCE: f64 = 0.05;

/// How answers to a benchmark changed between two evaluations in a row.
#[derive(Clone, Debug, Serialize)]
pub struct Gain {
    /// The earlier evaluation phase.
    pub before: String,
    /// The later one.
    pub after: String,
    /// The benchmark.
    pub benchmark: String,
    /// First answers to the same questions.
    pub paired: Paired,
}

impl Gain {
    /// Whether a difference like this one is not to be expected by chance.
    pub fn is_beyond_chance(&self) -> bool {
        self.paired.p_value <= CHANCE
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Paired { gain, p_value, .. } = self.paired;
        write!(f, "{} {:+.1} ", self.benchmark, 100.0 * gain)?;
        match (self.is_beyond_chance(), p_value < 0.001) {
            (true, true) => f.write_str("(p < 0.001)"),
            (true, false) => write!(f, "(p = {p_value:.3})"),
            (false, _) => write!(f, "(p = {p_value:.2}, within chance)"),
        }
    }
}

/// Every two evaluations in a row that asked the same benchmark, in the order of the run.
pub(crate) fn gains(run: &RunReader) -> Result<Vec<Gain>, Error> {
    let mut last: BTreeMap<String, (String, BTreeMap<String, bool>)> = BTreeMap::new();
    let mut gains = Vec::new();
    for report in run.reports()? {
        let (phase, benchmark) = (report.phase, report.benchmark);
        let answers = first_answers(run, &phase, &benchmark).into_iter();
        let right: BTreeMap<String, bool> =
            answers.map(|(question, answer)| (question, answer.right == Some(true))).collect();
        if let Some((before, earlier)) = last.get(&benchmark) {
            let pairs: Vec<(bool, bool)> =
                right.iter().filter_map(|(question, &now)| Some((*earlier.get(question)?, now))).collect();
            if !pairs.is_empty() {
                gains.push(Gain {
                    before: before.clone(),
                    after: phase.clone(),
                    benchmark: benchmark.clone(),
                    paired: Paired::new(pairs),
                });
            }
        }
        last.insert(benchmark, (phase, right));
    }
    Ok(gains)
}

/// A line for each evaluation that follows another, and what it says where a stage added nothing, or took away.
pub(crate) fn table(gains: &[Gain]) -> String {
    let mut lines: Vec<(String, Vec<&Gain>)> = Vec::new();
    for gain in gains {
        let name = format!("{} -> {}", gain.before, gain.after);
        match lines.iter_mut().find(|(line, _)| *line == name) {
            Some((_, gains)) => gains.push(gain),
            None => lines.push((name, vec![gain])),
        }
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(name, gains): &(String, Vec<&Gain>)| {
        let cells: Vec<String> = gains.iter().map(ToString::to_string).collect();
        let surely =
            |is: fn(f64) -> bool| gains.iter().any(|gain| gain.is_beyond_chance() && is(gain.paired.gain));
        let verdict = match (surely(|gain| gain > 0.0), surely(|gain| gain < 0.0)) {
            (true, _) => "",
            (false, true) => "   took away more than it added",
            (false, false) => "   added nothing beyond chance",
        };
        format!("{name:<width$}  {}{verdict}\n", cells.join("   "))
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_add_nothing_are_told() {
        let gain = |after: &str, benchmark: &str, up: usize, down: usize| Gain {
            before: "base".into(),
            after: after.into(),
            benchmark: benchmark.into(),
            paired: Paired::new((0..20).map(|i| if i < up { (false, true) } else { (i < up + down, false) })),
        };
        let gains = [
            gain("binary", "id", 12, 0),
            gain("binary", "ood", 2, 2),
            gain("choice", "id", 3, 1),
            gain("open", "id", 0, 9),
        ];
        assert_eq!(
            table(&gains),
            "base -> binary  id +60.0 (p < 0.001)   ood +0.0 (p = 1.00, within chance)\n\
             base -> choice  id +10.0 (p = 0.62, within chance)   added nothing beyond chance\n\
             base -> open    id -45.0 (p = 0.004)   took away more than it added\n"
        );
    }
}
