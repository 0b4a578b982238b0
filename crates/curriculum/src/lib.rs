//! Which samples come next, which groups are trained on, and how many questions that takes.
//!
//! A curriculum picks samples and sees how they were answered; a [filter] refuses groups that would teach nothing; a
//! [refill] asks more questions to make up for them. Each is a small file with its paper and formula, and a simulation
//! in `tests/` that shows what it is for. All their randomness comes from the seed and the number of draws, so their
//! whole state is a few counters and averages, and a resume continues exactly.
//!
//! | type | idea |
//! |---|---|
//! | [`Shuffle`] | the whole pool, epoch after epoch, balanced within each batch |
//! | [`Staged`], [`Mixed`] | binary, choice, open: forward, reversed, or all at once |
//! | [`Sec`] | a bandit that follows the learning signal |
//! | [`Pools`] | easy, normal and hard by pass rate |
//! | [`AdaRft`] | a target difficulty that follows the reward |
//! | [`Ptst`] | answer lengths by stage |
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

mod adarft;
mod balance;
mod difficulty;
mod error;
pub mod filter;
mod length;
mod mixed;
mod pool;
mod pools;
mod ptst;
mod recency;
pub mod refill;
mod sec;
mod shuffle;
mod staged;
mod state;

use reft_config::{CurriculumConfig, StageOrder};
use reft_core::{Curriculum, Seed};

pub use adarft::AdaRft;
pub use error::CurriculumError;
pub use length::{Length, Plateau};
pub use mixed::Mixed;
pub use pool::Pool;
pub use pools::Pools;
pub use ptst::Ptst;
pub use sec::Sec;
pub use shuffle::Shuffle;
pub use staged::{Stage, Staged};

/// The curriculum that a recipe asks for, over the samples of all its forms. Weights of the pool's sources hold where
/// the curriculum shuffles: everywhere but in [`Pools`] and [`AdaRft`].
pub fn build(
    config: &CurriculumConfig,
    pool: impl Into<Pool>,
    seed: Seed,
) -> Result<Box<dyn Curriculum>, CurriculumError> {
    let pool: Pool = pool.into();
    Ok(match config {
        CurriculumConfig::Shuffle => Box::new(Shuffle::new(pool, seed)?),
        CurriculumConfig::Staged(staged) => {
            let stages = staged.stages.iter().enumerate().map(|(i, stage)| Stage::from_config(i, stage));
            let stages = stages.collect::<Result<Vec<Stage>, _>>()?;
            match staged.order {
                StageOrder::Forward => Box::new(Staged::new(&stages, &pool, seed)?),
                StageOrder::Reverse => Box::new(Staged::new(&stages, &pool, seed)?.reversed()),
                StageOrder::Mixed => Box::new(Mixed::new(&stages, &pool, seed)?),
            }
        }
        CurriculumConfig::Sec(sec) => Box::new(Sec::new(*sec, &pool, seed)?),
        CurriculumConfig::Pools(pools) => Box::new(Pools::new(*pools, pool.into_samples(), seed)?),
        CurriculumConfig::AdaRft(ada_rft) => {
            let pool = pool.into_samples();
            let difficulties = match &ada_rft.difficulty {
                Some(path) => difficulty::read(path, &pool)?,
                None => difficulty::by_form(&pool),
            };
            Box::new(AdaRft::new(ada_rft.clone(), pool, difficulties, seed)?)
        }
        CurriculumConfig::Ptst(ptst) => {
            let inner = Box::new(Shuffle::new(pool, seed)?);
            Box::new(Ptst::new(inner, ptst.stages.clone())?)
        }
    })
}
