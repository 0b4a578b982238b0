//! A reward of one's own in a run: right answers pay, long thinking costs.
//!
//!     cargo run --release --example custom_reward [RUNS_DIR]

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::PathBuf;

use curr_reft::{
    config::{Resolved, RewardConfig},
    core::{Completion, Reward, Sample, StageError},
    pipeline::Stages,
    reward::Accuracy,
    train,
};

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

fn main() -> anyhow::Result<()> {
    let runs = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "runs".into()));
    let name = format!("run.name=custom-reward-{}", std::process::id());
    let recipe = Resolved::read(&["configs/smoke.toml".into()], &[name])?.recipe;

    let outcome = train::start_with(&recipe, &runs, &mut (), |_built, stages| {
        if let Stages::Rl(rl) = stages {
            rl.reward = Box::new(Brief(Accuracy::new(&RewardConfig::default(), None)));
        }
        Ok(())
    })?;
    println!("{outcome:?}");
    Ok(())
}
