//! The evaluation loop: each benchmark's questions in chunks, graded, reported.

use reft_core::{Alone, Benchmark, GradedGroup, Mark, RolloutEngine, SamplingParams, StageError};
use serde_json::json;

use crate::{
    EvalStages, Observer,
    chunk::{Ask, Marked, answer, answer_once},
    context::{Context, at_place},
    metrics,
    stopwatch::Stopwatch,
};

/// All benchmarks, one after another. Progress counts chunks; `metrics.jsonl` gets one row per benchmark.
pub(crate) fn run<P>(
    ctx: &mut Context<'_>,
    policy: &P,
    stages: &mut EvalStages<P>,
) -> Result<(), StageError> {
    let params = at_place(&stages.sampling, ctx.phase_seed());
    for (index, benchmark) in stages.benchmarks.iter().enumerate() {
        let benchmark = benchmark.as_ref();
        let mut clock = Stopwatch::start(ctx.peers);
        let mut graded = Vec::with_capacity(benchmark.samples().len());
        for (chunk, questions) in benchmark.samples().chunks(stages.prompts_per_step.max(1)).enumerate() {
            ctx.check_stop()?;
            graded.extend(graded_groups(answer_once(
                ctx,
                &format!("{}/{chunk:06}", benchmark.name()),
                Ask { policy, rollout: stages.rollout.as_mut(), questions, params: &params },
                &mut clock,
                |sample, completion| benchmark.grade(sample, completion),
            )?));
            ctx.cursor.step += 1;
            let so_far = metrics::evaluation(benchmark.name(), &graded);
            ctx.report(ctx.cursor.step, &so_far, &reft_core::Metrics::new());
        }

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
