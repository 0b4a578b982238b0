//! Every config struct of curr-reft, and how a recipe is read.
//!
//! A recipe is TOML: `[run]`, `[model]`, `[prompt]`, `[data.NAME]`, and an array of `[[phase]]` run in order.
//! Tables `[grpo]`, `[sft]`, `[reject]`, `[eval]` at the top give defaults to every phase of that kind.
//! Later files override earlier ones, then `--set key=value`.
//! Relative paths in a recipe start at the working directory, not at the recipe.
//!
//! [`Resolved::read`] merges, checks every key and type against the structs' own schema, then the values, and reports
//! all problems at once, each with its key and the file it comes from.
//! A new setting is a documented field on its struct; schema, key checks, suggestions and `--set` follow from that.
//!
//! ```
//! use reft_config::Resolved;
//!
//! let text = r#"
//!     model.path = "fixtures/pico-vlm"
//!     data.train = { type = "file", path = "train.parquet" }
//!     grpo.steps = 600
//!
//!     [[phase]]
//!     kind = "grpo"
//!     name = "binary"
//!     data = "train"
//!     forms = ["binary"]
//! "#;
//! let resolved = Resolved::from_text(text, "recipe.toml", &["grpo.lr=2e-6".to_owned()])?;
//! assert_eq!(resolved.recipe.phase[0].name(), "binary");
//!
//! let typo = Resolved::from_text(text, "recipe.toml", &["grpo.step=5".to_owned()]).unwrap_err();
//! assert!(typo.to_string().contains("`phase.binary.step`: unknown key; did you mean `steps`?"));
//! # Ok::<(), reft_config::ConfigError>(())
//! ```

mod benchmark;
mod correction;
mod curriculum;
mod data;
mod difference;
mod error;
mod filter;
mod foreign;
mod grader;
mod gradient;
mod guard;
mod layers;
mod lora;
mod loss;
mod model;
mod nearest;
mod node;
mod optimizer;
mod phase;
mod preflight;
mod prompt;
mod recipe;
mod reference;
mod remote;
mod reward;
mod schema;
mod stages;
mod structure;
mod validate;
mod validation;
mod weight_sync;

pub use benchmark::{BenchmarkConfig, ChatConfig};
pub use correction::{CorrectionConfig, CorrectionMode};
pub use curriculum::{
    AdaRftConfig, ArmKey, CurriculumConfig, LengthStageConfig, PlateauConfig, PoolsConfig, PtstConfig,
    SecConfig, StageConfig, StageOrder, StagedConfig,
};
pub use data::{
    BadImages, DataConfig, FileData, FrameName, MixtureData, MixtureSource, RowFormat, SceneData,
    SceneDomain, TaskName,
};
pub use difference::difference;
pub use error::{ConfigError, Problem};
pub use filter::{BandConfig, DynamicConfig, ExpansionConfig, FilterConfig, RefillConfig};
pub use grader::{Grader, Harness, UnknownGrader};
pub use gradient::{Between, DriftConfig, DriftScale, GradientConfig, LiftConfig, PcGradConfig};
pub use guard::GuardConfig;
pub use layers::Resolved;
pub use lora::{LoraConfig, LoraLayers};
pub use loss::{
    ClipCovConfig, ClipRange, EmaConfig, KlConfig, KlCovConfig, KlEstimator, KlPlace, KlSchedule, LossConfig,
    LossScale, ReferenceConfig, SapoConfig, TopEntropyConfig,
};
pub use model::{Device, Dtype, InitConfig, ModelConfig};
pub use optimizer::{LrScale, MomentsConfig, OptimizerConfig, Schedule, SmallWeights};
pub use phase::{EvalPhase, GrpoPhase, PhaseConfig, RejectPhase, SftPhase};
pub use preflight::PreflightConfig;
pub use prompt::PromptConfig;
pub use recipe::{Recipe, RunConfig, Shard, Tracker};
pub use remote::{FleetConfig, JudgeConfig, ProgramRewardConfig, ServerJudgeConfig, ServerRewardConfig};
pub use reward::{
    CosineConfig, DetectionReward, LanguageConfig, LengthConfig, PartialCredit, RepetitionConfig,
    RewardConfig, ScriptName,
};
pub use stages::{AdvantageConfig, SamplingConfig, TrainableConfig, WithForm};
pub use validate::is_plain_name;
pub use validation::{Keep, ValidationConfig};
pub use weight_sync::{ServerApi, WeightSyncConfig};
