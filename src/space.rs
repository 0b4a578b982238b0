//! Whether checkpoints fit on the disk, asked before the first step instead of found out after hours.

use reft_config::{Keep, MomentsConfig, OptimizerConfig, PhaseConfig, Recipe, SmallWeights};
use reft_store::RunDir;
use reft_vlm::Vlm;

use crate::Error;

/// Bytes of a run's checkpoints, computed from what is learned; completions and evaluations come on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    /// A checkpoint: the policy and the optimizer's state.
    checkpoint: u64,
    /// Checkpoints that lie there at the same time: those that are kept, and the one that is being written.
    checkpoints: u64,
    /// The final model, and those of phases that are kept.
    last: u64,
    /// The best policy of a phase that keeps it, and the one that takes its place.
    best: u64,
}

impl Needs {
    /// Of `learned` numbers with `state` bytes each of the optimizer's, saved in `policy` bytes; `merged` is a whole model
    /// beside an adapter.
    fn new(learned: u64, state: u64, policy: u64, merged: u64, keep: usize) -> Self {
        let checkpoint = policy + learned * state;
        Self { checkpoint, checkpoints: keep as u64 + 1, last: policy + merged, best: 0 }
    }

    /// With a model for each phase that is kept.
    fn with_phases(self, kept: usize) -> Self {
        Self { last: self.last * (1 + kept as u64), ..self }
    }

    /// With the policies of `phases` that keep their best.
    fn with_best(self, policy: u64, phases: &[PhaseConfig]) -> Self {
        let keeps_best = |phase: &PhaseConfig| phase.validation().is_some_and(|v| v.keep == Keep::Best);
        Self { best: if phases.iter().any(keeps_best) { 2 * policy } else { 0 }, ..self }
    }

    fn total(self) -> u64 {
        self.checkpoint * self.checkpoints + self.last + self.best
    }
}

/// Refuses a run whose checkpoints will not fit beside what its directory holds already.
pub(crate) fn check(recipe: &Recipe, policy: &Vlm, run: &RunDir) -> Result<(), Error> {
    let optimizers = recipe.phase.iter().filter_map(PhaseConfig::optimizer);
    let width = policy.kind().elt_size_in_bytes() as u64;
    let is_narrow = policy.lora().is_none() && width < 4;
    // Checkpoints of the largest phase.
    let Some(state) = optimizers.map(|optimizer| bytes_per_number(optimizer, is_narrow)).max() else {
        return Ok(());
    };
    let keep = recipe.run.keep_checkpoints;
    let (all, learned) = (policy.params().numel() as u64, policy.learned().numel() as u64);
    let needs = match policy.lora() {
        // Adapters are fp32.
        Some(_) => {
            let merged = recipe.model.lora.as_ref().is_some_and(|lora| lora.merge);
            let merged = if merged { all * width } else { 0 };
            Needs::new(learned, state, 4 * learned, merged, keep).with_best(4 * learned, &recipe.phase)
        }
        None => Needs::new(learned, state, all * width, 0, keep).with_best(all * width, &recipe.phase),
    };
    let trained = recipe.phase.iter().filter(|phase| phase.optimizer().is_some()).count();
    let needs = needs.with_phases(if recipe.run.keep_phases { trained } else { 0 });
    let (free, held) = run.space();
    match free.and_then(|free| refusal(needs, free, held)) {
        Some(message) => Err(Error::File { path: run.path().to_owned(), message }),
        None => Ok(()),
    }
}

/// Two moments, and what weights of fewer than 32 bits are kept with.
fn bytes_per_number(optimizer: &OptimizerConfig, is_narrow: bool) -> u64 {
    let moments = match optimizer.moments {
        MomentsConfig::Fp32 => 8,
        MomentsConfig::Int8 => 2,
    };
    let weights = match optimizer.small_weights {
        SmallWeights::Master if is_narrow => 4,
        SmallWeights::Kahan if is_narrow => 2,
        _ => 0,
    };
    moments + weights
}

/// What to say where it does not fit.
fn refusal(needs: Needs, free: u64, held: u64) -> Option<String> {
    (needs.total().saturating_sub(held) > free).then(|| {
        let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
        format!(
            "{} are free, and {} checkpoints of {} with the final model take {}; free some, lower \
             `run.keep_checkpoints`, or put the run elsewhere with `--runs`",
            gib(free),
            needs.checkpoints,
            gib(needs.checkpoint),
            gib(needs.total()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_would_fill_the_disk_is_refused() {
        // 3.75 billion parameters in bf16: 7.5 GB, and 45 GB of moments and master weights.
        let needs = Needs::new(
            3_750_000_000,
            bytes_per_number(&OptimizerConfig::default(), true),
            7_500_000_000,
            0,
            2,
        );
        assert_eq!(needs.total(), 3 * 52_500_000_000 + 7_500_000_000);
        let message = refusal(needs, 100 << 30, 0).unwrap();
        assert!(message.contains("100.0 GiB are free, and 3 checkpoints of 48.9 GiB"), "{message}");
        assert_eq!(refusal(needs, 160 << 30, 0), None);
        // What is there already will be replaced.
        assert_eq!(refusal(needs, 100 << 30, 60 << 30), None);
        assert_eq!(needs.with_phases(3).total(), 3 * 52_500_000_000 + 4 * 7_500_000_000);
    }

    #[test]
    fn adapters_are_small_and_a_merged_model_is_not() {
        let needs = Needs::new(1_000, bytes_per_number(&OptimizerConfig::default(), false), 4_000, 7_500, 1);
        assert_eq!(needs, Needs { checkpoint: 12_000, checkpoints: 2, last: 11_500, best: 0 });
    }
}
