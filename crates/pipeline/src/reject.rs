//! The rejection sampling loop: N answers per question, judged, the best kept for a later SFT phase.

use reft_core::{JudgedGroup, StageError, Verdict};
use serde_json::json;

use crate::{
    RejectStages,
    chunk::{Ask, answer_once},
    context::{Context, seeded},
    fill::same_length,
    metrics,
    stopwatch::Stopwatch,
};

/// All questions, a chunk per step.
pub(crate) fn run<P>(
    ctx: &mut Context<'_>,
    policy: &P,
    stages: &mut RejectStages<P>,
) -> Result<(), StageError> {
    // Answers depend on the question alone, so the chunk size changes nothing but the records' grouping.
    let params = seeded(&stages.sampling, ctx.phase_seed());
    let mut kept = Vec::new();
    for (index, questions) in stages.questions.chunks(stages.prompts_per_step.max(1)).enumerate() {
        ctx.check_stop()?;
        let mut clock = Stopwatch::start(ctx.peers);
        let step = index as u64 + 1;
        let judge = stages.judge.as_ref();
        let marked = answer_once(
            ctx,
            &format!("{step:06}"),
            Ask { policy, rollout: stages.rollout.as_mut(), questions, params: &params },
            &mut clock,
            |sample, completion| judge.judge(sample, completion),
        )?;
        let judged = marked
            .into_iter()
            .map(|(group, judgements)| {
                let group = JudgedGroup { group, judgements };
                let verdicts = stages.selector.select(&group);
                same_length("verdicts", "the selector", verdicts.len(), &group.group)?;
                Ok((group, verdicts))
            })
            .collect::<Result<Vec<_>, StageError>>()?;

        let step_metrics = metrics::rejection(&judged);
        ctx.store.judged(&ctx.phase, step, &judged)?;
        clock.lap("record");
        let timings = clock.stop(ctx.peers)?;
        ctx.record(step, &step_metrics, &timings)?;
        ctx.cursor.step = step;
        ctx.report(step, &step_metrics, &timings);
        kept.extend(judged.into_iter().filter(|(_, verdicts)| verdicts.contains(&Verdict::Admit)));
    }
    ctx.store.save_kept(&ctx.phase, &kept)?;
    summarize(ctx, kept.len(), stages.questions.len())
}

fn summarize(ctx: &mut Context<'_>, kept: usize, asked: usize) -> Result<(), StageError> {
    let details = json!({"phase": ctx.phase, "questions": asked, "questions_kept": kept});
    ctx.store.event("rejection", details)?;
    if kept == 0 {
        ctx.observer.message(&format!(
            "phase `{}` kept no answer to any of {asked} questions; lower the threshold or sample more per question",
            ctx.phase
        ));
    }
    Ok(())
}
