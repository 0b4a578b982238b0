//! `reft` with a reward, an advantage and a curriculum of one's own.
//!
//! Everything else of the command line is as in `reft`: recipes and `--set`, progress, Ctrl-C, resume, reports.

use std::{collections::HashMap, process::ExitCode, sync::Arc};

use curr_reft::{
    config::RewardConfig,
    core::{
        AdvantageEstimator, Completion, Curriculum, Reward, Sample, SampleId, ScoredGroup, StageError, Stateful,
    },
    pipeline::Stages,
    reward::Accuracy,
};
use serde_json::Value;

/// Accuracy minus a hundredth per token.
struct Brief(Accuracy);

impl Reward for Brief {
    fn name(&self) -> &'static str {
        "brief"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        Ok(self.0.score(sample, completion)? - 0.01 * completion.token_ids.len() as f32)
    }
}

/// The reward minus the best of the group: only what could have been done better is corrected.
struct AgainstBest;

impl AdvantageEstimator for AgainstBest {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let best = rewards.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        rewards.iter().map(|reward| reward - best).collect()
    }
}

/// Samples by their last mean reward, lowest first; samples never asked come before all others.
struct WorstFirst {
    pool: Vec<Arc<Sample>>,
    last_reward: HashMap<SampleId, f32>,
}

impl Curriculum for WorstFirst {
    fn next_batch(&mut self, _step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        let reward = |sample: &Arc<Sample>| self.last_reward.get(&sample.id).copied().unwrap_or(f32::NEG_INFINITY);
        self.pool.sort_by(|a, b| reward(a).total_cmp(&reward(b)).then_with(|| a.id.cmp(&b.id)));
        Ok(self.pool.iter().take(n).cloned().collect())
    }

    fn observe(&mut self, groups: &[ScoredGroup]) {
        for scored in groups {
            let totals = scored.totals();
            let mean = totals.iter().sum::<f32>() / totals.len() as f32;
            self.last_reward.insert(scored.group.sample.id.clone(), mean);
        }
    }
}

/// The state is saved with every checkpoint, so a resumed run chooses as the uninterrupted one would.
impl Stateful for WorstFirst {
    fn save(&self) -> Result<Value, StageError> {
        serde_json::to_value(&self.last_reward).map_err(|error| StageError::other("worst-first", error))
    }

    fn load(&mut self, state: &Value) -> Result<(), StageError> {
        self.last_reward =
            serde_json::from_value(state.clone()).map_err(|error| StageError::other("worst-first", error))?;
        Ok(())
    }
}

fn main() -> ExitCode {
    reft_cli::main_with(|built, stages| {
        if let Stages::Rl(rl) = stages {
            rl.reward = Box::new(Brief(Accuracy::new(&RewardConfig::default(), None)));
            rl.advantage = Arc::new(AgainstBest);
            rl.curriculum = Box::new(WorstFirst { pool: built.samples.to_vec(), last_reward: HashMap::new() });
        }
        Ok(())
    })
}
