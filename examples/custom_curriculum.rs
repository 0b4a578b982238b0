//! A curriculum of one's own in a run: what was answered worst so far comes first.
//!
//!     cargo run --release --example custom_curriculum [RUNS_DIR]

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use curr_reft::{
    config::Resolved,
    core::{Curriculum, Sample, SampleId, ScoredGroup, StageError, Stateful},
    pipeline::Stages,
    train,
};
use serde_json::Value;

/// Samples by their last mean reward, lowest first; samples never asked come before all others.
struct WorstFirst {
    pool: Vec<Arc<Sample>>,
    last_reward: HashMap<SampleId, f32>,
}

impl Curriculum for WorstFirst {
    fn next_batch(&mut self, _step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        let reward =
            |sample: &Arc<Sample>| self.last_reward.get(&sample.id).copied().unwrap_or(f32::NEG_INFINITY);
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
        serde_json::to_value(&self.last_reward).map_err(|e| StageError::other("worst-first curriculum", e))
    }

    fn load(&mut self, state: &Value) -> Result<(), StageError> {
        self.last_reward = serde_json::from_value(state.clone())
            .map_err(|e| StageError::other("worst-first curriculum", e))?;
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let runs = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "runs".into()));
    let name = format!("run.name=custom-curriculum-{}", std::process::id());
    let recipe = Resolved::read(&["configs/smoke.toml".into()], &[name])?.recipe;

    let outcome = train::start_with(&recipe, &runs, &mut (), |built, stages| {
        if let Stages::Rl(rl) = stages {
            rl.curriculum =
                Box::new(WorstFirst { pool: built.samples.to_vec(), last_reward: HashMap::new() });
        }
        Ok(())
    })?;
    println!("{outcome:?}");
    Ok(())
}
