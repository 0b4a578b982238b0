//! Grading predictions that are known only by their text.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use reft_core::{Benchmark, Completion, GradedGroup, Group, Mark, Reason, Sample, SampleId, StageError};

use crate::EvalError;

/// Questions that are graded at the same time: a grader may wait for its judge.
const THREADS: usize = 8;

/// What becomes of questions without a prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Nothing is graded: a silently smaller set is another benchmark.
    #[default]
    Refuse,
    /// They count as wrong.
    Wrong,
}

/// Grades stored texts, one or more per question, in the benchmark's order of questions. Every prediction needs a question.
pub fn grade_texts(
    benchmark: &dyn Benchmark,
    texts: &[(SampleId, String)],
    missing: Missing,
) -> Result<Vec<GradedGroup>, StageError> {
    let mut by_id: HashMap<&SampleId, Vec<&str>> = HashMap::new();
    for (id, text) in texts {
        by_id.entry(id).or_default().push(text);
    }
    let name = || benchmark.name().to_owned();
    let samples = benchmark.samples();
    let unanswered: Vec<&SampleId> =
        samples.iter().map(|sample| &sample.id).filter(|id| !by_id.contains_key(id)).collect();
    if let (Some(first), Missing::Refuse) = (unanswered.first(), missing) {
        let (missing, first) = (unanswered.len(), first.to_string());
        return Err(EvalError::Unanswered { benchmark: name(), missing, first }.into());
    }
    let questions: Vec<(&Arc<Sample>, Vec<&str>)> =
        samples.iter().map(|sample| (sample, by_id.remove(&sample.id).unwrap_or_default())).collect();
    if let Some(sample) = by_id.keys().map(|id| id.as_str()).min() {
        return Err(EvalError::UnknownQuestion { benchmark: name(), sample: sample.to_owned() }.into());
    }

    // The first error by position wins, so a failure does not depend on the threads.
    let next = AtomicUsize::new(0);
    let graded: Mutex<Vec<Option<Result<GradedGroup, StageError>>>> =
        Mutex::new(questions.iter().map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..THREADS.min(questions.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((sample, texts)) = questions.get(at) else { break };
                    let group = group(benchmark, sample, texts);
                    graded.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(group);
                }
            });
        }
    });
    // The scope passes a panic on, so every slot is filled here.
    graded.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

fn group(benchmark: &dyn Benchmark, sample: &Arc<Sample>, texts: &[&str]) -> Result<GradedGroup, StageError> {
    let completions: Vec<Completion> = if texts.is_empty() {
        vec![Completion::from_text("")]
    } else {
        texts.iter().map(|text| Completion::from_text(*text)).collect()
    };
    let marks = if texts.is_empty() {
        vec![Mark::because(Reason::Unread)]
    } else {
        completions.iter().map(|completion| benchmark.grade(sample, completion)).collect::<Result<_, _>>()?
    };
    let group = Group {
        sample: Arc::clone(sample),
        prompt_tokens: 0,
        completions,
        policy_version: None,
        temperature: None,
    };
    Ok(GradedGroup { group, marks })
}
