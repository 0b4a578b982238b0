//! PTST: longer answers from stage to stage.

use std::sync::Arc;

use reft_config::LengthStageConfig;
use reft_core::{Curriculum, Metrics, Sample, SamplingParams, ScoredGroup, StageError, Stateful};
use serde_json::Value;

use crate::CurriculumError;

/// Progressive thinking suppression training (Vision-R1, arXiv 2503.06749), around any other curriculum.
///
/// Stage `i` lasts `steps_i` steps, cuts answers at `L_i` tokens and draws `G_i` per question, with `L` rising and `G`
/// falling so that a step costs about the same: 4,096 x 16, then 8,192 x 8. Short limits first, because a model that
/// is not yet right rambles: long wrong answers cost the most and teach to be long.
/// Which samples come next is the inner curriculum's business. The stage is a function of the step, so the state is
/// that of the inner curriculum.
pub struct Ptst {
    inner: Box<dyn Curriculum>,
    stages: Vec<LengthStageConfig>,
    current: usize,
}

impl Ptst {
    /// Lengths by stage over the samples of `inner`.
    pub fn new(inner: Box<dyn Curriculum>, stages: Vec<LengthStageConfig>) -> Result<Self, CurriculumError> {
        if stages.is_empty() {
            return Err(CurriculumError::NoStages);
        }
        Ok(Self { inner, stages, current: 0 })
    }

    fn stage_at(&self, step: u64) -> usize {
        let mut end = 0_u64;
        let over = self.stages.iter().take_while(|stage| {
            end = end.saturating_add(stage.steps);
            step >= end
        });
        over.count().min(self.stages.len() - 1)
    }
}

impl Stateful for Ptst {
    fn save(&self) -> Result<Value, StageError> {
        self.inner.save()
    }

    fn load(&mut self, state: &Value) -> Result<(), StageError> {
        self.inner.load(state)
    }
}

impl Curriculum for Ptst {
    fn next_batch(&mut self, step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        self.current = self.stage_at(step);
        self.inner.next_batch(step, n)
    }

    fn adjust(&self, params: &mut SamplingParams) {
        self.inner.adjust(params);
        let stage = self.stages[self.current];
        params.max_new_tokens = stage.max_new_tokens;
        if let Some(group_size) = stage.group_size {
            params.group_size = group_size;
        }
    }

    fn observe(&mut self, groups: &[ScoredGroup]) {
        self.inner.observe(groups);
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = self.inner.metrics();
        metrics.set("curriculum/length_stage", (self.current + 1) as f64);
        metrics.set("curriculum/max_new_tokens", self.stages[self.current].max_new_tokens as f64);
        metrics
    }
}
