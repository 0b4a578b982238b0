//! Whether a completion keeps the form that the prompt asks for.

use reft_core::{Completion, Form, Reward, Sample, StageError, Task};

use crate::{FoundBox, Reply, answer, parse_boxes};

/// Pays 1 when the whole completion is one think block, then one non-empty answer block, with only white space around.
///
/// Open detection further wants the answer to be a box or boxes, each from its upper left to its lower right corner.
/// Binary and choice samples want no box, whatever their task.
#[derive(Clone, Copy, Debug, Default)]
pub struct Format;

impl Reward for Format {
    fn name(&self) -> &'static str {
        "format"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let reply = Reply::of(completion);
        let wants_box = sample.form == Form::Open && sample.task == Task::Detection;
        let boxes = || reply.answer.and_then(parse_boxes);
        // An empty list is the answer only where nothing is there.
        let nothing_there = || parse_boxes(answer::solution(sample)).is_some_and(|right| right.is_empty());
        let are_upright = |found: &[FoundBox]| found.iter().all(|found| found.is_upright);
        let is_box =
            || boxes().is_some_and(|found| are_upright(&found) && (!found.is_empty() || nothing_there()));
        let kept = reply.well_formed && (!wants_box || is_box());
        Ok(f32::from(kept))
    }
}
