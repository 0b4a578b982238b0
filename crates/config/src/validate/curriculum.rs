//! Checks of curricula.

use super::{At, forms::check_forms};
use crate::{
    AdaRftConfig, CurriculumConfig, DataConfig, PoolsConfig, PtstConfig, SecConfig, StageConfig, StageOrder,
    StagedConfig,
};

pub(super) fn check(curriculum: &CurriculumConfig, at: &mut At<'_>) {
    match curriculum {
        CurriculumConfig::Shuffle => {}
        CurriculumConfig::Staged(config) => check_staged(config, at),
        CurriculumConfig::Sec(config) => check_sec(config, at),
        CurriculumConfig::Pools(config) => check_pools(config, at),
        CurriculumConfig::AdaRft(config) => check_ada_rft(config, at),
        CurriculumConfig::Ptst(config) => check_ptst(config, at),
    }
}

/// Curricula that choose each sample by its difficulty cannot keep shares of data sets as well.
pub(super) fn check_weights(curriculum: &CurriculumConfig, data: Option<&DataConfig>, at: &mut At<'_>) {
    let weighted = match data {
        Some(DataConfig::Mixture(mixture)) => mixture.sources.iter().any(|source| source.weight.is_some()),
        _ => false,
    };
    let by_difficulty = matches!(curriculum, CurriculumConfig::Pools(_) | CurriculumConfig::AdaRft(_));
    at.require(!(weighted && by_difficulty), "type", || {
        "chooses samples by difficulty and cannot keep the weights of a mixture; leave the weights out"
            .to_owned()
    });
}

const ABOVE_0: &str = "above 0";
const SHARE: &str = "from 0 to 1";
const WEIGHT: &str = "above 0 and at most 1";
const SCALE: &str = "from 0 to 100";

fn check_staged(config: &StagedConfig, at: &mut At<'_>) {
    at.require(!config.stages.is_empty(), "stages", || "name at least one stage".to_owned());
    for (i, stage) in config.stages.iter().enumerate() {
        let mut at = at.at(&format!("stages[{i}]"));
        check_forms(&stage.forms, &mut at);
        check_length(stage, &mut at);
        at.require(config.order != StageOrder::Mixed || stage.steps.is_some(), "steps", || {
            "missing; with `order = \"mixed\"` the shares of the stages are in proportion to their `steps`"
                .to_owned()
        });
    }
}

fn check_length(stage: &StageConfig, at: &mut At<'_>) {
    let given = [stage.steps.is_some(), stage.epochs.is_some(), stage.plateau.is_some()];
    let given = given.into_iter().filter(|&given| given).count();
    at.require(given == 1, "", || {
        format!("its length is exactly one of `steps`, `epochs` and `plateau`; {given} are given")
    });
    if let Some(steps) = stage.steps {
        at.at_least_one(steps, "steps");
    }
    if let Some(epochs) = stage.epochs {
        at.in_range(epochs, f64::MIN_POSITIVE.., "epochs", ABOVE_0);
    }
    if let Some(plateau) = stage.plateau {
        let mut at = at.at("plateau");
        at.at_least_one(plateau.max_steps, "max_steps");
        at.at_least_one(plateau.window as u64, "window");
        at.at_least_one(plateau.patience, "patience");
        at.in_range(plateau.min_delta, 0.0.., "min_delta", "0 or above");
    }
}

fn check_sec(config: &SecConfig, at: &mut At<'_>) {
    at.in_range(config.alpha, f64::MIN_POSITIVE..=1.0, "alpha", WEIGHT);
    at.in_range(config.temperature, f64::MIN_POSITIVE.., "temperature", ABOVE_0);
}

fn check_pools(config: &PoolsConfig, at: &mut At<'_>) {
    at.in_range(config.easy, 0.0..=1.0, "easy", SHARE);
    at.in_range(config.hard, 0.0..=1.0, "hard", SHARE);
    at.require(config.hard < config.easy, "hard", || {
        format!("`{}` must be below `easy` = {}", config.hard, config.easy)
    });
    at.in_range(config.easy_share, 0.0..=1.0, "easy_share", SHARE);
    at.in_range(config.hard_share, 0.0..=1.0, "hard_share", SHARE);
    at.require(config.easy_share + config.hard_share <= 1.0, "easy_share", || {
        format!("`{}` and `hard_share` = {} add up to more than 1", config.easy_share, config.hard_share)
    });
    at.in_range(config.alpha, f64::MIN_POSITIVE..=1.0, "alpha", WEIGHT);
}

fn check_ada_rft(config: &AdaRftConfig, at: &mut At<'_>) {
    at.in_range(config.start, 0.0..=100.0, "start", SCALE);
    at.in_range(config.beta, 0.0..=1.0, "beta", SHARE);
    at.in_range(config.alpha, f64::MIN_POSITIVE.., "alpha", ABOVE_0);
    at.in_range(config.eta, f64::MIN_POSITIVE.., "eta", ABOVE_0);
    at.in_range(config.spread, 0.0.., "spread", "0 or above");
}

fn check_ptst(config: &PtstConfig, at: &mut At<'_>) {
    at.require(!config.stages.is_empty(), "stages", || "name at least one stage".to_owned());
    for (i, stage) in config.stages.iter().enumerate() {
        let mut at = at.at(&format!("stages[{i}]"));
        at.at_least_one(stage.steps, "steps");
        at.at_least_one(stage.max_new_tokens as u64, "max_new_tokens");
        at.require(stage.group_size.is_none_or(|size| size >= 2), "group_size", || {
            "must be at least 2: a completion is compared with the others of its group".to_owned()
        });
    }
}
