//! Answers to many questions, a chunk at a time, each answer marked by a judge or a grader.
//!
//! Rejection and evaluation only read the policy, so what they have answered stays true until the policy moves on: each
//! chunk is kept in the store, and a resumed run takes it from there instead of generating it again.

use std::sync::Arc;

use reft_core::{Completion, Group, RolloutEngine, Sample, SampleId, SamplingParams, StageError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Observer,
    context::Context,
    metrics, parallel,
    share::{Answers, share},
    stopwatch::Stopwatch,
};

/// The groups of a chunk with a mark for each completion.
pub(crate) type Marked<T> = Vec<(Group, Vec<T>)>;

/// Who is asked what, and how.
pub(crate) struct Ask<'a, P: ?Sized> {
    pub(crate) policy: &'a P,
    pub(crate) rollout: &'a mut dyn RolloutEngine<P>,
    pub(crate) questions: &'a [Arc<Sample>],
    pub(crate) params: &'a SamplingParams,
}

/// A group as the store keeps it.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    sample: SampleId,
    prompt_tokens: usize,
    policy_version: Option<u64>,
    completions: Vec<Completion>,
    marks: Vec<T>,
}

/// A chunk from the store when it is there, else generated, marked and kept.
pub(crate) fn answer_once<P: ?Sized, T>(
    ctx: &mut Context<'_>,
    key: &str,
    ask: Ask<'_, P>,
    clock: &mut Stopwatch,
    mark: impl Fn(&Sample, &Completion) -> Result<T, StageError> + Sync,
) -> Result<Marked<T>, StageError>
where
    T: Serialize + DeserializeOwned + Clone + Send,
{
    let version = ctx.cursor.global_step;
    let key = format!("{}/{key}", ctx.phase);
    if let Some(marked) = load(ctx, version, &key, ask.questions) {
        for (group, _) in &marked {
            ctx.expected.observe(&group.sample, &group.completions);
        }
        return Ok(marked);
    }
    let costs = ctx.expected.tokens(ask.questions.iter().map(AsRef::as_ref), ask.params.group_size);
    let Ask { policy, rollout, questions, params } = ask;
    let observer = &mut *ctx.observer;
    let answered = share(ctx.peers, &costs, |own| {
        let questions: Vec<_> = own.iter().map(|&i| Arc::clone(&questions[i])).collect();
        let marked = answer(Ask { policy, rollout, questions: &questions, params }, observer, clock, mark)?;
        let answers = |(group, marks): (Group, Vec<T>)| Answers {
            prompt_tokens: group.prompt_tokens,
            completions: group.completions,
            marks,
            lag: 0,
        };
        Ok(marked.into_iter().map(answers).collect())
    })?;
    if ctx.peers.size() > 1 {
        clock.skip();
    }
    let mut marked = Vec::with_capacity(questions.len());
    for (sample, answers) in questions.iter().zip(answered) {
        ctx.expected.observe(sample, &answers.completions);
        let group = Group {
            sample: Arc::clone(sample),
            prompt_tokens: answers.prompt_tokens,
            completions: answers.completions,
            policy_version: Some(version),
            temperature: None,
        };
        marked.push((group, answers.marks));
    }
    let kept: Vec<Kept<T>> = marked
        .iter()
        .map(|(group, marks)| Kept {
            sample: group.sample.id.clone(),
            prompt_tokens: group.prompt_tokens,
            policy_version: group.policy_version,
            completions: group.completions.clone(),
            marks: marks.clone(),
        })
        .collect();
    let value = serde_json::to_value(kept).map_err(|error| StageError::other("chunk", error))?;
    ctx.store.save_chunk(version, &key, &value)?;
    Ok(marked)
}

/// Generates and marks.
pub(crate) fn answer<P: ?Sized, T: Send>(
    ask: Ask<'_, P>,
    observer: &mut dyn Observer,
    clock: &mut Stopwatch,
    mark: impl Fn(&Sample, &Completion) -> Result<T, StageError> + Sync,
) -> Result<Marked<T>, StageError> {
    let groups = ask.rollout.generate(ask.policy, ask.questions, ask.params, &mut |done, total| {
        observer.progress(done, total);
        !observer.should_stop()
    })?;
    clock.lap_rollout(metrics::tokens(&groups), false);
    let marks = parallel::try_map(&groups, |group| {
        let completions = group.completions.iter();
        completions.map(|completion| mark(&group.sample, completion)).collect::<Result<Vec<T>, StageError>>()
    })?;
    clock.lap("score");
    Ok(groups.into_iter().zip(marks).collect())
}

/// A kept chunk, when it answers exactly these questions. Anything else is generated again.
fn load<T: DeserializeOwned>(
    ctx: &Context<'_>,
    version: u64,
    key: &str,
    questions: &[Arc<Sample>],
) -> Option<Marked<T>> {
    let value = ctx.store.load_chunk(version, key)?;
    let kept: Vec<Kept<T>> = serde_json::from_value(value).ok()?;
    let same = kept.len() == questions.len() && kept.iter().zip(questions).all(|(k, q)| k.sample == q.id);
    same.then(|| {
        kept.into_iter()
            .zip(questions)
            .map(|(kept, question)| {
                let group = Group {
                    sample: Arc::clone(question),
                    prompt_tokens: kept.prompt_tokens,
                    completions: kept.completions,
                    policy_version: kept.policy_version,
                    temperature: None,
                };
                (group, kept.marks)
            })
            .collect()
    })
}
