//! The evaluation loop: each benchmark's questions in chunks, graded, reported.

use reft_core::{Alone, Benchmark, GradedGroup, Mark, Metrics, RolloutEngine, SamplingParams, StageError};
use serde_json::json;

use crate::{
    EvalStages, Observer,
    chunk::{Ask, Marked, answer, answer_once},
    context::{Context, seeded},
    metrics,
    stopwatch::Stopwatch,
};

/// All benchmarks, one after another. Progress counts chunks; `metrics.jsonl` gets one row per benchmark.
pub(crate) fn run<P>(
    ctx: &mut Context<'_>,
    policy: &P,
    stages: &mut EvalStages<P>,
) -> Result<(), StageError> {
    let EvalStages { benchmarks, prompts_per_step, sampling, rollout } = stages;
    for (index, benchmark) in benchmarks.iter().map(AsRef::as_ref).enumerate() {
        let mut clock = Stopwatch::start(ctx.peers);
        let questions = Questions { benchmark, prompts_per_step: *prompts_per_step, sampling };
        let show = |ctx: &mut Context<'_>, graded: &[GradedGroup]| {
            ctx.cursor.step += 1;
            ctx.report(ctx.cursor.step, &metrics::evaluation(benchmark.name(), graded), &Metrics::new());
        };
        let graded = questions.answered(ctx, policy, rollout.as_mut(), benchmark.name(), &mut clock, show)?;
        let report = benchmark.report(&graded)?;
        ctx.store.save_report(&ctx.phase, benchmark.name(), &graded, &report)?;
        clock.lap("record");
        let metrics = metrics::evaluation(benchmark.name(), &graded);
        ctx.record(index as u64 + 1, &metrics, &clock.stop(ctx.peers)?)?;
        let details = json!({"phase": ctx.phase, "benchmark": benchmark.name(), "report": report});
        ctx.store.event("evaluation", details)?;
    }
    Ok(())
}

/// The questions of a benchmark, and how they are asked.
pub(crate) struct Questions<'a> {
    pub(crate) benchmark: &'a dyn Benchmark,
    pub(crate) prompts_per_step: usize,
    pub(crate) sampling: &'a SamplingParams,
}

impl Questions<'_> {
    /// All answers with their marks, in order; each chunk is kept below `key`, and `seen` is shown what there is after it.
    pub(crate) fn answered<P: ?Sized>(
        &self,
        ctx: &mut Context<'_>,
        policy: &P,
        rollout: &mut dyn RolloutEngine<P>,
        key: &str,
        clock: &mut Stopwatch,
        mut seen: impl FnMut(&mut Context<'_>, &[GradedGroup]),
    ) -> Result<Vec<GradedGroup>, StageError> {
        let &Self { benchmark, prompts_per_step, sampling } = self;
        let params = seeded(sampling, ctx.phase_seed());
        let mut graded = Vec::with_capacity(benchmark.samples().len());
        for (chunk, questions) in benchmark.samples().chunks(prompts_per_step.max(1)).enumerate() {
            ctx.check_stop()?;
            graded.extend(graded_groups(answer_once(
                ctx,
                &format!("{key}/{chunk:06}"),
                Ask { policy, rollout: &mut *rollout, questions, params: &params },
                clock,
                |sample, completion| benchmark.grade(sample, completion),
            )?));
            seen(ctx, &graded);
        }
        Ok(graded)
    }
}

/// The mean score of all answers, 0 to 1.
pub(crate) fn accuracy(graded: &[GradedGroup]) -> f64 {
    metrics::mean(graded.iter().flat_map(GradedGroup::scores))
}

/// One benchmark on a policy, outside a run and without a store: all graded questions, in order.
pub fn evaluate<P: ?Sized>(
    policy: &P,
    rollout: &mut dyn RolloutEngine<P>,
    benchmark: &dyn Benchmark,
    params: &SamplingParams,
    prompts_per_call: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<GradedGroup>, StageError> {
    let mut graded = Vec::with_capacity(benchmark.samples().len());
    for questions in benchmark.samples().chunks(prompts_per_call.max(1)) {
        let mut clock = Stopwatch::start(&Alone);
        let ask = Ask { policy, rollout: &mut *rollout, questions, params };
        let marked =
            answer(ask, observer, &mut clock, |sample, completion| benchmark.grade(sample, completion))?;
        graded.extend(graded_groups(marked));
    }
    Ok(graded)
}

fn graded_groups(marked: Marked<Mark>) -> impl Iterator<Item = GradedGroup> {
    marked.into_iter().map(|(group, marks)| GradedGroup { group, marks })
}
