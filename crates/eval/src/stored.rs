//! Grading predictions that are known only by their text.

use std::{collections::HashMap, sync::Arc};

use reft_core::{Benchmark, Completion, GradedGroup, Group, SampleId, StageError};

use crate::EvalError;

/// Grades stored texts, one or more per question, in the benchmark's order of questions.
///
/// Every question needs a prediction and every prediction a question: a silently smaller set is another benchmark.
pub fn grade_texts(
    benchmark: &dyn Benchmark,
    texts: &[(SampleId, String)],
) -> Result<Vec<GradedGroup>, StageError> {
    let mut by_id: HashMap<&SampleId, Vec<&str>> = HashMap::new();
    for (id, text) in texts {
        by_id.entry(id).or_default().push(text);
    }
    let name = || benchmark.name().to_owned();
    let samples = benchmark.samples();
    let unanswered: Vec<&SampleId> =
        samples.iter().map(|sample| &sample.id).filter(|id| !by_id.contains_key(id)).collect();
    if let Some(first) = unanswered.first() {
        let (missing, first) = (unanswered.len(), first.to_string());
        return Err(EvalError::Unanswered { benchmark: name(), missing, first }.into());
    }
    let graded = samples
        .iter()
        .map(|sample| {
            let texts = by_id.remove(&sample.id).unwrap_or_default();
            let completions: Vec<Completion> = texts.into_iter().map(Completion::from_text).collect();
            let grades = completions
                .iter()
                .map(|completion| benchmark.grade(sample, completion))
                .collect::<Result<_, _>>()?;
            let group =
                Group { sample: Arc::clone(sample), prompt_tokens: 0, completions, policy_version: 0 };
            Ok(GradedGroup { group, grades })
        })
        .collect::<Result<Vec<_>, StageError>>()?;
    match by_id.keys().map(|id| id.as_str()).min() {
        None => Ok(graded),
        Some(sample) => {
            Err(EvalError::UnknownQuestion { benchmark: name(), sample: sample.to_owned() }.into())
        }
    }
}
