//! Open mathematics: read and compute.

use reft_core::{Completion, Reward, Sample, StageError};

use crate::{Reply, answer};

/// Pays 1 when the answer is mathematically equal to the solution ([`reft_math::equal`]), else 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct MathAccuracy;

impl Reward for MathAccuracy {
    fn name(&self) -> &'static str {
        "math_equal"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let solution = answer::solution(sample);
        if solution.is_empty() {
            return Err(StageError::sample(&sample.id, "the solution is empty; give the right answer"));
        }
        let right = Reply::of(completion).answer.is_some_and(|answer| reft_math::equal(solution, answer));
        Ok(f32::from(right))
    }
}
