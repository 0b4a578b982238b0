//! Answers that the length limit cuts.

use std::sync::Arc;

use reft_core::{FinishReason, Group, Progress, RolloutEngine, Sample, SamplingParams, StageError};
use reft_testkit::TablePolicy;

/// The answers of another engine, of each group those from a number on cut.
pub(crate) struct Cut<E> {
    pub(crate) engine: E,
    pub(crate) from: usize,
}

impl<E: RolloutEngine<TablePolicy>> RolloutEngine<TablePolicy> for Cut<E> {
    fn generate(
        &mut self,
        policy: &TablePolicy,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        let mut groups = self.engine.generate(policy, samples, params, progress)?;
        let cut = groups.iter_mut().flat_map(|group| group.completions.iter_mut().skip(self.from));
        cut.for_each(|answer| answer.finish = FinishReason::Length);
        Ok(groups)
    }
}
