//! Which samples come next, and which groups are trained on.
//!
//! [`Shuffle`] goes through the pool epoch after epoch, [`Staged`] through one form after another (the curriculum of
//! Curr-ReFT, arXiv 2503.07065: binary decision, multiple choice, open). Both are functions of the seed and of how
//! many samples were drawn, so their whole state is a few counters and a resume continues exactly.
//!
//! ```
//! use reft_config::CurriculumConfig;
//! use reft_core::Seed;
//! use reft_testkit::sums;
//!
//! let mut curriculum = reft_curriculum::build(&CurriculumConfig::Shuffle, sums(10), Seed::new(7))?;
//! assert_eq!(curriculum.next_batch(0, 4)?.len(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod balance;
mod error;
pub mod filter;
mod shuffle;
mod staged;

use std::sync::Arc;

use reft_config::CurriculumConfig;
use reft_core::{Curriculum, Sample, Seed};

pub use error::CurriculumError;
pub use shuffle::Shuffle;
pub use staged::{Stage, Staged};

/// The curriculum that a recipe asks for, over the samples of all its forms.
pub fn build(
    config: &CurriculumConfig,
    pool: Vec<Arc<Sample>>,
    seed: Seed,
) -> Result<Box<dyn Curriculum>, CurriculumError> {
    match config {
        CurriculumConfig::Shuffle => Ok(Box::new(Shuffle::new(pool, seed)?)),
        CurriculumConfig::Staged { stages } => {
            let stages: Vec<Stage> = stages.iter().map(Stage::from).collect();
            Ok(Box::new(Staged::new(&stages, &pool, seed)?))
        }
    }
}
