//! No format, no pay: the hard gate of Vision-R1 (Huang et al. 2025, arXiv 2503.06749).

use reft_core::{Completion, Reward, Sample, StageError};

use crate::Format;

/// Pays what the inner reward pays where the [format](Format) is kept, else 0. Range: that of the inner reward, and 0.
pub struct FormatFirst(pub Box<dyn Reward>);

impl Reward for FormatFirst {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let inner = self.0.score(sample, completion)?;
        Ok(Format.score(sample, completion)? * inner)
    }
}
