//! Rejection sampling over stored completions: `reft reject`.

use std::path::Path;

use reft_config::RewardConfig;
use reft_reject::{Report, RuleJudge, stored};
use reft_reward::{Accuracy, Format};
use serde_json::Value;

use crate::{
    Error,
    relative::rebase,
    table::{self, Row},
};

/// Judges the stored completions of `input` and writes one chat per kept answer to `output`.
pub fn reject(input: &Path, output: &Path, settings: stored::Settings) -> Result<Report, Error> {
    table::check_output(output)?;
    let rows: Vec<Value> = table::read(input)?.into_iter().map(|(_, row)| Value::Object(row)).collect();
    let config = RewardConfig::default();
    let judge = RuleJudge::new(Box::new(Accuracy::new(&config, None)), Box::new(Format));
    let (kept, report) = stored::reject(&rows, settings, &judge)?;
    if kept.is_empty() {
        return Err(Error::File {
            path: input.to_owned(),
            message: format!(
                "none of {} completions reached {}; lower the threshold or sample more per question\n{report}",
                report.total.answers, settings.select.threshold
            ),
        });
    }
    let mut kept: Vec<Row> = kept.iter().filter_map(|row| row.as_object().cloned()).collect();
    for row in &mut kept {
        rebase(row, input, output);
    }
    table::write(output, &kept)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use reft_reject::BestOf;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_best_answer_becomes_a_chat() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in.jsonl"), dir.path().join("out.jsonl"));
        let good = "<think>Two and two are four, so the answer is 4.</think><answer>4</answer>";
        let row = json!({
            "messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}],
            "completions": [{"text": "5"}, {"text": good}],
            "solution": "4",
        });
        std::fs::write(&input, row.to_string()).unwrap();

        let settings = |best_of| stored::Settings { best_of, select: BestOf { threshold: 85.0, keep: 1 } };
        let report = reject(&input, &output, settings(2)).unwrap();
        assert_eq!((report.total.answers, report.total.kept), (2, 1));
        let row: Value = serde_json::from_str(&std::fs::read_to_string(&output).unwrap()).unwrap();
        assert_eq!(row["messages"][1]["content"][0]["text"], good);

        // Only the wrong answer is looked at.
        let error = reject(&input, &output, settings(1)).unwrap_err().to_string();
        assert!(error.contains("none of 1 completions reached 85"), "{error}");
    }
}
