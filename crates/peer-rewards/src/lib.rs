//! The rewards of other projects, as they behave: for moving a running recipe over and for reproducing curves.
//!
//! They are apart from the paper's rewards because they are wrong in known ways, which the documentation of each says.
//! Nothing here is a recommendation. Every reward is held to executed verdicts of the original
//! (`fixtures/cases/peer_rewards.jsonl`); docs/REWARDS.md lists where ours still differs.
//!
//! Where the original raises an exception, so does ours: [`Raises`].

mod curr_reft;
mod easyr1;
mod name;
mod r1v;
mod symbolic;
mod tags;
mod visual_rft;
mod vlm_r1;

use reft_core::{Completion, ImageSize, PixelBudget, Reward, Sample, StageError};
use reft_math::python;

pub use easyr1::{mathruler, mathruler_box};
pub use name::PeerReward;
pub use symbolic::{Symbolic, math_verify};

/// What a peer's reward sees.
#[derive(Clone, Copy, Debug)]
pub struct PeerRow<'a> {
    /// The completion.
    pub completion: &'a str,
    /// The solution as it is stored, tags and all.
    pub solution: &'a str,
    /// Size of the image.
    pub image: Option<ImageSize>,
    /// Size of what the model sees of it: 14 times its grid of patches.
    pub model_input: Option<ImageSize>,
}

/// The original raises an exception here, which ends its training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Raises {
    /// Because of the solution, or of something that the row lacks.
    #[error("the published code raises here: {0}")]
    Row(&'static str),
    /// Because of what the model wrote.
    #[error("the published code raises on this completion: {0}")]
    Completion(&'static str),
}

/// A peer's reward as a stage of ours. Where the original raises because of a completion, it scores 0.
#[derive(Clone, Copy, Debug)]
pub struct PeerStage {
    /// Which.
    pub reward: PeerReward,
    /// How the model's processor resizes, which VLM-R1's overlap for Qwen models needs.
    pub budget: Option<PixelBudget>,
}

impl Reward for PeerStage {
    fn name(&self) -> &'static str {
        self.reward.as_str()
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let image = sample.images().next().map(|image| image.size);
        let grid = image.zip(self.budget).map(|(image, budget)| budget.grid(image)).transpose();
        let grid = grid.map_err(|error| StageError::sample(&sample.id, error))?;
        let row = PeerRow {
            completion: &completion.text,
            solution: &sample.solution,
            image,
            model_input: grid.map(|grid| grid.resized),
        };
        match self.reward.score(&row) {
            Ok(score) => Ok(score as f32),
            // A run goes on whatever the model writes.
            Err(Raises::Completion(_)) => Ok(0.0),
            Err(raises @ Raises::Row(_)) => Err(StageError::sample(&sample.id, raises)),
        }
    }
}
